"""What an API is made of, handed in whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from prynt_relay.api.doors import (
    Describe,
    EventIntake,
    FilterFailures,
    KeyCheck,
    Render,
    SecretBox,
    Storage,
    WebhookChanges,
    WebhookRegistry,
)
from prynt_relay.api.hub import Hub
from prynt_relay.api.upkeep import Upkeep
from prynt_relay.clock import Clock
from prynt_relay.model.catalogue import EventTypeInfo


def _no_session(_: web.Request) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """The doors that the API needs; `hub` and `upkeep` are run by whoever supervises.

    `readiness` returns what keeps the daemon from being ready, [] when it is: that the socket
    accepts and that the storage takes writes. `published_ips` is asked anew each time, since a
    reload may change it. `has_session` admits a request without a key, for reading alone: the
    dashboard's cookie, whose name is `session_cookie`. `filter_failures` says by a webhook's row
    how its filter failed. `event_types`, `allow_http`, `allow_addresses` and `session_cookie`
    shape what the OpenAPI document says.
    """

    clock: Clock
    storage: Storage
    registry: WebhookRegistry
    changes: WebhookChanges
    intake: EventIntake
    describe: Describe
    render: Render
    secret_box: SecretBox
    key_check: KeyCheck
    hub: Hub
    upkeep: Upkeep
    event_types: Sequence[EventTypeInfo]
    published_ips: Callable[[], Sequence[str]]
    readiness: Callable[[], Sequence[str]]
    random_bytes: Callable[[int], bytes]
    filter_failures: Callable[[int], FilterFailures | None]
    allow_http: bool = False
    allow_addresses: Sequence[str] = ()
    has_session: Callable[[web.Request], bool] = _no_session
    session_cookie: str | None = None


DEPS: Final = web.AppKey("deps", Deps)
OPENAPI: Final = web.AppKey("openapi", bytes)
