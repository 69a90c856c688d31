"""From what a caller asks for to fields that a webhook may have."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from msgspec import UNSET, UnsetType

from prynt_relay.errors import FieldConflictError, InvalidFieldError
from prynt_relay.model.durations import format_duration
from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import Webhook
from prynt_relay.model.webhook_input import WebhookInput
from prynt_relay.webhooks.endpoint import (
    EndpointRules,
    check_auth,
    check_events,
    check_headers,
    check_one_authorization,
)

DESCRIPTION_MAX: Final = 1000
TIMEOUT_MIN_S: Final = 1.0
TIMEOUT_MAX_S: Final = 30.0
RETRIES_MAX: Final = 20
RETRY_MAX_S: Final = 30 * 86_400.0
"""The longest pause before a retry, as in the configuration."""

IDENTIFICATION: Final = "identification.complete"
PROFILES: Final[dict[str, dict[str, Any]]] = {
    "fingerprint": {
        "format": Format.FINGERPRINT,
        "signatures": (SignatureScheme.FINGERPRINT,),
        "timeout_s": 3.0,
        "retry_schedule_s": (300.0,),
        "events": (IDENTIFICATION,),
    },
}
"""What a profile sets where the caller doesn't (contract, section 9)."""

_OWN_SIGNATURE: Final = (SignatureScheme.PRYNT,)

T = TypeVar("T")


class FieldRules:
    """Checks every field of a webhook, and those that must agree with each other."""

    def __init__(
        self,
        *,
        endpoint: EndpointRules,
        event_types: Sequence[str],
        check_filter: Callable[[str], None],
    ) -> None:
        def filter_checked(expression: str) -> str:
            check_filter(expression)
            return expression

        # Of one field each, for a value other than None; each returns the value to keep.
        self._checks: dict[str, Callable[[Any], Any]] = {
            "url": endpoint.check_url,
            "events": lambda events: check_events(events, event_types),
            "description": _check_description,
            "auth": check_auth,
            "headers": check_headers,
            "signatures": _check_signatures,
            "timeout_s": _check_timeout,
            "retry_schedule_s": _check_schedule,
            "filter": filter_checked,
        }

    def creation(self, new: WebhookInput) -> dict[str, Any]:
        """All fields of a webhook to create; raises `InvalidFieldError` for the first wrong one."""
        preset = PROFILES[new.profile] if isinstance(new.profile, str) else {}
        url = new.url
        if url is UNSET:
            raise InvalidFieldError("url", "is required")
        events = _given(new.events, preset.get("events"))
        if events is None:
            raise InvalidFieldError("events", 'is required; name event types, or ["*"] for all')
        fields = {
            "url": url,
            "events": events,
            "description": _given(new.description, ""),
            "enabled": _given(new.enabled, default=True),
            "auth": _given(new.auth, None),
            "headers": _given(new.headers, ()),
            "format": _given(new.format, preset.get("format", Format.PRYNT)),
            "signatures": _given(new.signatures, preset.get("signatures", _OWN_SIGNATURE)),
            "timeout_s": _given(new.timeout_s, preset.get("timeout_s")),
            "retry_schedule_s": _given(new.retry_schedule_s, preset.get("retry_schedule_s")),
            "filter": _given(new.filter, None),
        }
        return self._checked(_FIELDS, fields)

    def change(self, webhook: Webhook, changes: WebhookInput) -> dict[str, Any]:
        """The fields that `changes` really changes, checked together with those that stay."""
        if changes.profile is not UNSET:
            raise InvalidFieldError("profile", "only counts on creation; change the fields it sets")
        before: dict[str, Any] = {name: getattr(webhook, name) for name in _FIELDS}
        # A rule that became stricter since (another configuration) must not keep a webhook from
        # being disabled: only what is given is looked at.
        given = [name for name in _FIELDS if getattr(changes, name) is not UNSET]
        wanted = {name: _given(getattr(changes, name), before[name]) for name in _FIELDS}
        after = self._checked(given, wanted)
        return {name: value for name, value in after.items() if value != before[name]}

    def _checked(self, given: Sequence[str], fields: Mapping[str, Any]) -> dict[str, Any]:
        checked = dict(fields)
        for name in given:
            check = self._checks.get(name)
            if check is not None and fields[name] is not None:
                checked[name] = check(fields[name])
        if "events" in given or "format" in given:
            _check_format(checked["format"], checked["events"])
        if checked["auth"] is not None and ("auth" in given or "headers" in given):
            check_one_authorization(checked["headers"])
        return checked


_FIELDS: Final = (
    "url",
    "events",
    "description",
    "enabled",
    "auth",
    "headers",
    "format",
    "signatures",
    "timeout_s",
    "retry_schedule_s",
    "filter",
)


def _check_format(format: Format, events: tuple[str, ...]) -> None:
    if format is Format.FINGERPRINT and events != (IDENTIFICATION,):
        raise FieldConflictError(
            "events", "format", f'must be ["{IDENTIFICATION}"] in the format "fingerprint"'
        )


def _check_description(description: str) -> str:
    if len(description) > DESCRIPTION_MAX:
        raise InvalidFieldError("description", f"must have at most {DESCRIPTION_MAX} characters")
    return description


def _check_signatures(signatures: tuple[SignatureScheme, ...]) -> tuple[SignatureScheme, ...]:
    if not signatures:
        raise InvalidFieldError("signatures", 'must name at least one scheme, such as "prynt"')
    return tuple(dict.fromkeys(signatures))


def _check_timeout(timeout_s: float) -> float:
    if not TIMEOUT_MIN_S <= timeout_s <= TIMEOUT_MAX_S:
        raise InvalidFieldError(
            "timeout", f"must be from 1s to 30s, not {format_duration(timeout_s)}"
        )
    return timeout_s


def _check_schedule(schedule_s: tuple[float, ...]) -> tuple[float, ...]:
    if len(schedule_s) > RETRIES_MAX:
        raise InvalidFieldError("retrySchedule", f"must have at most {RETRIES_MAX} entries")
    for number, delay_s in enumerate(schedule_s):
        if not 0.0 <= delay_s <= RETRY_MAX_S:
            raise InvalidFieldError(
                f"retrySchedule[{number}]",
                f"must be from 0s to 30d, not {format_duration(delay_s)}",
            )
    return schedule_s


def _given(value: T | UnsetType, default: T) -> T:
    return default if isinstance(value, UnsetType) else value
