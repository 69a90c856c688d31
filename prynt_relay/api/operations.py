"""What an operation of the API is: its route and its part of the OpenAPI document in one."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Schema = dict[str, Any]

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the path, the query or a header."""

    name: str
    place: str
    description: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer; `content` is a type of `outputs`, a ready schema, or None: no body."""

    status: int
    description: str
    content: Any = None
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names and descriptions."""
    links: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method at one path. `problems` are the statuses beyond those that all have."""

    method: str
    path: str
    id: str
    tag: str
    summary: str
    handler: Handler
    reply: Reply
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Any = None
    """A type of `inputs`, or a ready schema; None: no body."""
    body_required: bool = False
    problems: tuple[int, ...] = ()
    needs_key: bool = True


def link(operation_id: str, parameters: Mapping[str, str], description: str) -> Schema:
    """Return an OpenAPI link: with which parameters from an answer another operation goes on."""
    return {
        "operationId": operation_id,
        "parameters": dict(parameters),
        "description": description,
    }
