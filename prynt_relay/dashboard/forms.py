"""The dashboard's forms as they come in: each read once, within bounds of size and time.

The sign-in form is read before anybody has shown a key, so nothing here trusts the sender.
"""

import asyncio
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import MultiDict, MultiDictProxy

from prynt_relay.api.bodies import LARGE_BODY, check_coding, in_time
from prynt_relay.api.problems import ProblemError

MAX_FORM: Final = 256 * 1024
"""Bytes: 32 headers of 4 KiB, escaped, and everything else."""

MAX_FIELDS: Final = 1_000

_FORM: Final = "application/x-www-form-urlencoded"
_LATE: Final = "The form did not come within {} s. Nothing was changed: send it again."
_FIELDS: Final = web.RequestKey("form_fields", MultiDictProxy[str])


async def form_field(request: web.Request, name: str) -> str:
    """Return a field of the form that the request carries, "" without it."""
    if request.content_type != _FORM:
        return ""
    return (await form_fields(request)).get(name, "")


async def form_fields(request: web.Request) -> MultiDictProxy[str]:
    """Return the form's texts.

    Raises ProblemError for what isn't a form (415, 400), is too large (413) or doesn't come in
    time (408).
    """
    fields = request.get(_FIELDS)
    if fields is None:
        if request.content_type != _FORM:
            detail = "This takes a form of this dashboard."
            raise ProblemError(415, "unsupported_media_type", detail)
        check_coding(request, "This takes a form in UTF-8; leave the charset out.")
        body = await in_time(_read(request), _LATE)
        large = len(body) > LARGE_BODY
        fields = await asyncio.to_thread(_parse, body) if large else _parse(body)
        request[_FIELDS] = fields
    return fields


async def _read(request: web.Request) -> bytes:
    """Return the body; what a chunked one holds shows only as it comes."""
    size = request.content_length or 0
    body = bytearray()
    while size <= MAX_FORM:
        chunk = await request.content.readany()
        if not chunk:
            return bytes(body)
        body += chunk
        size = len(body)
    detail = f"A form of this dashboard has at most {MAX_FORM // 1024} KiB. Nothing was changed."
    raise ProblemError(413, "payload_too_large", detail)


def _parse(body: bytes) -> MultiDictProxy[str]:
    try:
        text = body.rstrip().decode()
    except UnicodeDecodeError:
        detail = "The form isn't UTF-8. Nothing was changed."
        raise ProblemError(400, "invalid_request", detail) from None
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        detail = f"A form of this dashboard has at most {MAX_FIELDS:,} fields. Nothing was changed."
        raise ProblemError(413, "payload_too_large", detail) from None
    # Browsers send line ends as CRLF; what is kept has them plain.
    return MultiDictProxy(MultiDict((name, value.replace("\r\n", "\n")) for name, value in pairs))
