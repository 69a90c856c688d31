"""The OpenAPI 3.1 document, from the types that validate and the operations that are routed."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from prynt_relay.api import outputs
from prynt_relay.api.openapi_schemas import problem_example, refine
from prynt_relay.api.operations import JSON, Operation, Parameter, Reply, Schema
from prynt_relay.api.problems import CONTENT_TYPE as PROBLEM
from prynt_relay.api.routes import OPERATIONS
from prynt_relay.model.catalogue import EventTypeInfo
from prynt_relay.version import __version__

_REF: Final = "#/components/schemas/{name}"

_DESCRIPTION: Final = """\
Webhooks, what became of their deliveries, and sending again.

Errors are `application/problem+json` (RFC 9457): `code` is stable and meant for programs,
`detail` for people; `errors` names the fields that are wrong. Fields and query parameters that
are not described are errors, too.

Lists answer `data`, newest first, and a `nextCursor`, null at the end. A page can be short, even
empty, and still have one: where a filter matches little, a request searches only so far.\
"""
_TAGS: Final = {
    "webhooks": "Where events go, and how.",
    "deliveries": "The log: one event on its way to one webhook, with every attempt.",
    "events": "What came in.",
    "streams": "Attempts as they happen, as Server-Sent Events.",
    "figures": "Counts and what waits.",
    "open": "Needs no key.",
}
_PROBLEMS: Final = {
    400: ("BadRequest", "Something in the request is wrong; `errors` names the fields."),
    401: ("Unauthorized", "There is no valid API key in `Authorization: Bearer`."),
    404: ("NotFound", "There is no such webhook, delivery or event."),
    408: ("RequestTimeout", "The body did not come in time."),
    409: ("Conflict", "Not in the state that the object is in, or the key is in use."),
    413: ("ContentTooLarge", "The body is larger than 8 MiB, or an event than its bound."),
    415: ("UnsupportedMediaType", "The body isn't plain JSON in UTF-8."),
    422: ("IdempotencyKeyReused", "The Idempotency-Key came with another request before."),
    500: ("InternalError", "Something that the relay did not foresee; its log has more."),
    503: ("Unavailable", "Not now: the storage refuses writes, or the relay is leaving."),
}


def build(
    event_types: Sequence[EventTypeInfo],
    *,
    allow_http: bool,
    allow_addresses: Sequence[str],
    session_cookie: str | None = None,
) -> bytes:
    """Return the document as JSON, for one installation's event types and endpoint rules.

    `session_cookie` is the name of a cookie that reading takes in the key's place.
    """
    kinds = [operation.reply.content for operation in OPERATIONS]
    kinds += [operation.body for operation in OPERATIONS]
    types = [kind for kind in kinds if isinstance(kind, type)]
    types += [outputs.ProblemDocument, outputs.AcceptedEvent]
    types += [outputs.StreamedAttempt, outputs.StreamGap]
    _, schemas = msgspec.json.schema_components(dict.fromkeys(types), ref_template=_REF)
    names = [info.name for info in event_types]
    refine(schemas, names, allow_http=allow_http, allow_addresses=allow_addresses)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "prynt-relay",
                "version": __version__,
                "description": _DESCRIPTION,
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": "/"}],
            "security": [{"apiKey": []}],
            "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
            "paths": _paths(with_session=session_cookie is not None),
            "components": {
                "schemas": schemas,
                "responses": {name: _problem(status) for status, (name, _) in _PROBLEMS.items()},
                "securitySchemes": _security_schemes(session_cookie),
            },
        }
    )


def _security_schemes(session_cookie: str | None) -> dict[str, Schema]:
    schemes: dict[str, Schema] = {
        "apiKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "The key in `<state_dir>/api-key`.",
        }
    }
    if session_cookie is not None:
        schemes["session"] = {
            "type": "apiKey",
            "in": "cookie",
            "name": session_cookie,
            "description": (
                "The dashboard's session: lets its own pages read. It doesn't count beside an "
                "`Authorization`, nor where the browser says that another site asks."
            ),
        }
    return schemes


def _paths(*, with_session: bool) -> dict[str, dict[str, Schema]]:
    paths: dict[str, dict[str, Schema]] = {}
    for operation in OPERATIONS:
        described = _operation(operation)
        if operation.needs_key and operation.method == "GET" and with_session:
            described["security"] = [{"apiKey": []}, {"session": []}]
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return paths


def _operation(operation: Operation) -> Schema:
    described: Schema = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": _responses(operation),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.parameters:
        described["parameters"] = [_parameter(each) for each in operation.parameters]
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {JSON: {"schema": _schema_of(operation.body)}},
        }
    if not operation.needs_key:
        described["security"] = []
    return described


def _parameter(parameter: Parameter) -> Schema:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _responses(operation: Operation) -> dict[str, Schema]:
    statuses = {400, 500, 503, *operation.problems}
    if operation.needs_key:
        statuses.add(401)
    if operation.body is not None:
        statuses |= {408, 413, 415}
    if operation.method == "POST":
        statuses |= {408, 409, 413, 415, 422}
    found = {str(operation.reply.status): _reply(operation.reply)}
    for status in sorted(statuses):
        found[str(status)] = {"$ref": f"#/components/responses/{_PROBLEMS[status][0]}"}
    return found


def _reply(reply: Reply) -> Schema:
    described: Schema = {"description": reply.description}
    headers = {"X-Request-Id": "Finds the request in the daemon's log.", **reply.headers}
    described["headers"] = {
        name: {"description": text, "schema": {"type": "string"}, "required": True}
        for name, text in headers.items()
    }
    if reply.content is not None:
        described["content"] = {reply.media_type: {"schema": _schema_of(reply.content)}}
    if reply.links:
        described["links"] = dict(reply.links)
    return described


def _problem(status: int) -> Schema:
    headers: dict[str, Schema] = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}, "required": True}
    return {
        "description": _PROBLEMS[status][1],
        "headers": headers,
        "content": {
            PROBLEM: {
                "schema": {"$ref": "#/components/schemas/ProblemDocument"},
                "example": problem_example(status, _PROBLEMS[status][1]),
            }
        },
    }


def _schema_of(content: Any) -> Schema:
    if isinstance(content, type):
        return {"$ref": _REF.format(name=content.__name__)}
    found: Schema = content
    return found
