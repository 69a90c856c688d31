"""Errors as the API answers them: `application/problem+json` (RFC 9457) with a `code`."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from msgspec import UNSET, UnsetType

from prynt_relay.api.outputs import ENCODER, FieldError, ProblemDocument, RefusedEvent
from prynt_relay.errors import (
    ConflictError,
    InvalidFieldError,
    NotFoundError,
    RefusedEventError,
    RelayError,
    ShuttingDownError,
    StorageUnavailableError,
)

CONTENT_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 5

_INDEX: Final = re.compile(r"\[(\d+)\]: ")
_TITLES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}  # RFC 9110's names


def title_of(status: int) -> str:
    """Return a status's name, as RFC 9110 has it."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


class ProblemError(RelayError):
    """An answer that isn't a success; `code` is stable, `detail` is for people."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        reasons: Sequence[str] | UnsetType = UNSET,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.reasons = reasons
        self.refused: RefusedEventError | None = None

    def response(self, request_id: str) -> web.Response:
        """Return the answer."""
        document = ProblemDocument(
            title=title_of(self.status),
            status=self.status,
            code=self.code,
            detail=self.detail,
            request_id=request_id,
        )
        if self.errors:
            document.errors = [FieldError(field, message) for field, message in self.errors]
        if not isinstance(self.reasons, UnsetType):
            document.reasons = list(self.reasons)
        if self.refused is not None:
            document.ok = False
            document.error = RefusedEvent(self.refused.code, str(self.refused))
            found = _INDEX.match(str(self.refused))
            if found is not None:
                document.index = int(found[1])
        return web.Response(
            status=self.status,
            body=ENCODER.encode(document),
            content_type=CONTENT_TYPE,
            headers=self.headers,
        )


_LATER: Final = {"Retry-After": str(RETRY_AFTER_S)}
_OF_ROOMS: Final[tuple[tuple[type[RelayError], int, str, dict[str, str]], ...]] = (
    (NotFoundError, 404, "not_found", {}),
    (ConflictError, 409, "conflict", {}),
    (StorageUnavailableError, 503, "storage_unavailable", _LATER),
    (ShuttingDownError, 503, "shutting_down", _LATER),
)


def from_relay_error(error: RelayError) -> ProblemError | None:
    """Return the answer that an error of the rooms behind stands for; None: it's our mistake."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, InvalidFieldError):
        errors = [(error.field, error.reason)]
        return ProblemError(400, "invalid_request", str(error), errors=errors)
    if isinstance(error, RefusedEventError):
        return _refused(error)
    for kind, status, code, headers in _OF_ROOMS:
        if isinstance(error, kind):
            return ProblemError(status, code, str(error), headers=headers)
    return None


def _refused(error: RefusedEventError) -> ProblemError:
    status = {"payload_too_large": 413, "storage_unavailable": 503, "shutting_down": 503}
    problem = ProblemError(status.get(error.code, 400), error.code, str(error))
    problem.refused = error
    return problem


_HTTP: Final[dict[int, tuple[str, str]]] = {
    404: ("not_found", "there is nothing at this path; /openapi.json lists what there is"),
    413: ("payload_too_large", "the request's body is larger than 8 MiB; send it in parts"),
}


def from_http_exception(error: web.HTTPException) -> ProblemError:
    """Return the answer for an error that aiohttp raised."""
    headers: dict[str, Any] = {}
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))
        detail = f"{error.method[:20]} is not possible here; {allowed} are"
        return ProblemError(405, "method_not_allowed", detail, headers={"Allow": allowed})
    code, detail = _HTTP.get(error.status, ("bad_request", error.reason))
    return ProblemError(error.status, code, detail, headers=headers)


def internal_error(request_id: str) -> ProblemError:
    """Return the answer for what should not have happened."""
    detail = f"something went wrong that the relay did not foresee; its log names {request_id}"
    return ProblemError(500, "internal_error", detail)
