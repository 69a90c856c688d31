"""JSON answers."""

from typing import Any

from aiohttp import web

from prynt_relay.api.outputs import ENCODER


def answer(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return `value` as JSON."""
    return web.Response(
        status=status,
        body=ENCODER.encode(value),
        content_type="application/json",
        headers=headers,
    )
