"""Request bodies: JSON into types, with refusals that name the field."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from prynt_relay.api.problems import ProblemError
from prynt_relay.errors import InvalidFieldError

T = TypeVar("T", bound=msgspec.Struct)

MAX_BODY: Final = 8 * 1024 * 1024
"""Contract, section 6."""

BODY_S: Final = 60.0
"""How long a body may take to come."""

LARGE_BODY: Final = 64 * 1024
"""From here on a body is worth a thread: milliseconds of work would hold up deliveries."""

_JSON: Final = re.compile(r"application/(?:json|[a-z0-9.-]+\+json)", re.IGNORECASE)
_AT: Final = re.compile(r" - at `(?:key in )?\$\.?(.*)`\Z", re.DOTALL)
_INDEX: Final = re.compile(r"\[[^\]]*\]")
_MISSING: Final = re.compile(r"Object missing required field `(.*)`\Z", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`\Z", re.DOTALL)
_TYPE: Final = re.compile(r"Expected `(.*)`, got `(.*)`\Z", re.DOTALL)
_NOUNS: Final = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


async def read_body(request: web.Request) -> bytes:
    """Return the body.

    Raises ProblemError where it is too large, doesn't claim to be JSON or doesn't come in time.
    """
    if (request.content_length or 0) > MAX_BODY:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY, request.content_length or 0)
    late = "the body did not come within {} s; send it again, in parts if need be"
    body = await in_time(request.read(), late)
    if body:
        check_content_type(request)
    return body


async def in_time(body: Awaitable[bytes], late: str) -> bytes:
    """Return a body that is being read; `late` tells with `{}` for the seconds what was missed.

    Raises ProblemError (408) where it doesn't come in time, ConnectionError where nobody sends it.
    """
    try:
        async with asyncio.timeout(BODY_S):
            return await body
    except TimeoutError:
        raise ProblemError(
            408,
            "request_timeout",
            late.format(f"{BODY_S:g}"),
            headers={"Connection": "close"},
        ) from None
    except OSError as error:
        raise ConnectionResetError(f"the sender of the body is gone: {error}") from error


def check_content_type(request: web.Request) -> None:
    """Raise ProblemError (415) for a body that doesn't call itself plain JSON."""
    given = request.headers.get("Content-Type", "")
    if not _JSON.fullmatch(request.content_type) or "Content-Type" not in request.headers:
        detail = f"the body must be application/json, not {given[:100]!r}"
        raise ProblemError(
            415, "unsupported_media_type", detail, headers={"Accept": "application/json"}
        )
    check_coding(request, "JSON is UTF-8 (RFC 8259); leave charset out")


def check_coding(request: web.Request, charset: str) -> None:
    """Raise ProblemError (415) for a body that isn't plain UTF-8; `charset` is what to say then."""
    if (request.charset or "utf-8").lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise ProblemError(415, "unsupported_media_type", charset)
    coding = request.headers.get("Content-Encoding", "identity").lower()
    if coding != "identity":
        raise ProblemError(
            415,
            "unsupported_media_type",
            f"a body in the coding {coding[:40]!r} isn't taken; send it plain",
            headers={"Accept-Encoding": "identity"},
        )


async def decode_body(request: web.Request, kind: type[T], *, optional: bool = False) -> T:
    """Return the body as `kind`; an empty one, where that is allowed, with all its defaults.

    Raises ProblemError (`invalid_json`, 413, 415) or InvalidFieldError.
    """
    body = await read_body(request)
    if not body:
        if optional:
            return kind()
        raise ProblemError(400, "invalid_json", "the body is empty; send a JSON object")
    if len(body) > LARGE_BODY:
        return await asyncio.to_thread(decode, body, kind)
    return decode(body, kind)


def decode(body: bytes, kind: type[T]) -> T:
    """Return `body` as `kind`; raises ProblemError (`invalid_json`) or InvalidFieldError."""
    try:
        found = msgspec.json.decode(body, type=kind)
        _check_keys(body)
    except msgspec.ValidationError as error:
        _check_json(body)
        raise _invalid(str(error), kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(400, "invalid_json", f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise ProblemError(400, "invalid_json", "the body is nested too deep") from None
    return found


def _check_keys(body: bytes) -> None:
    """Raise InvalidFieldError for a key that an object has twice.

    msgspec keeps the last of them, and one of two values that somebody meant would be lost.
    """
    json.loads(body, object_pairs_hook=_once, parse_int=str, parse_float=str)


def _once(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) < len(pairs):
        counted = Counter(name for name, _ in pairs)
        raise InvalidFieldError(counted.most_common(1)[0][0][:64], "is given twice; give it once")


def _check_json(body: bytes) -> None:
    """Raise ProblemError where the body isn't JSON further on.

    msgspec stops at the first wrong field.
    """
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(400, "invalid_json", f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise ProblemError(400, "invalid_json", "the body is nested too deep") from None


def _invalid(message: str, kind: type[msgspec.Struct]) -> InvalidFieldError:
    """Turn msgspec's words into ours, and its path into the name that the caller used."""
    found = _AT.search(message)
    path = found[1] if found else ""
    what = message[: found.start()] if found else message
    match = _MISSING.match(what)
    if match:
        return InvalidFieldError(_join(path, match[1]), "is required")
    match = _UNKNOWN.match(what)
    if match:
        names = () if path else kind.__struct_encode_fields__
        known = f"; known are {', '.join(names)}" if names else ""
        return InvalidFieldError(_join(path, match[1]), f"is not a known field{known}")
    match = _TYPE.match(what)
    if match:
        wanted = " or ".join(_NOUNS.get(name, name) for name in match[1].split(" | "))
        what = f"must be {wanted}, not {_NOUNS.get(match[2], match[2])}"
    elif what.startswith("Invalid enum value"):
        what = f"must be one of {', '.join(_allowed(kind, path))}, not {what[19:][:100]}"
    return InvalidFieldError(path[:200] or "(body)", what)


def _join(path: str, field: str) -> str:
    return (f"{path}.{field}" if path else field)[:200]


def _allowed(kind: type[msgspec.Struct], path: str) -> list[str]:
    """Return the values that a field's type lists, quoted."""
    node: object = msgspec.inspect.type_info(kind)
    for step in [*_INDEX.sub(".[]", path).split("."), ""]:
        node = _plain(node)
        if isinstance(node, msgspec.inspect.LiteralType):
            return [f'"{value}"' for value in node.values]
        if isinstance(node, msgspec.inspect.StructType):
            node = next((f.type for f in node.fields if f.encode_name == step), None)
        elif isinstance(node, msgspec.inspect.ListType):
            node = node.item_type
    return []


def _plain(node: object) -> object:
    """Look through `Annotated` and past null."""
    while True:
        if isinstance(node, msgspec.inspect.Metadata):
            node = node.type
        elif isinstance(node, msgspec.inspect.UnionType):
            node = next(t for t in node.types if not isinstance(t, msgspec.inspect.NoneType))
        else:
            return node
