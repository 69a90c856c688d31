"""From what a caller asks for to fields that a webhook may have."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from msgspec import UNSET, UnsetType

from prynt_relay.errors import InvalidFieldError
from prynt_relay.model.durations import format_duration
from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import BasicAuth, Webhook
from prynt_relay.model.webhook_input import WebhookInput
from prynt_relay.webhooks.endpoint import EndpointRules, check_auth, check_events, check_headers

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
        self._endpoint = endpoint
        self._event_types = event_types
        self._check_filter = check_filter

    def creation(self, new: WebhookInput) -> dict[str, Any]:
        """All fields of a webhook to create; raises `InvalidFieldError` for the first wrong one."""
        preset = PROFILES[new.profile] if isinstance(new.profile, str) else {}
        url = new.url
        if url is UNSET:
            raise InvalidFieldError("url", "is required")
        events = _given(new.events, preset.get("events"))
        if events is None:
            raise InvalidFieldError("events", 'is required; name event types, or ["*"] for all')
        return self._checked(
            _FIELDS,
            url=url,
            events=events,
            description=_given(new.description, ""),
            enabled=_given(new.enabled, default=True),
            auth=_given(new.auth, None),
            headers=_given(new.headers, ()),
            format=_given(new.format, preset.get("format", Format.PRYNT)),
            signatures=_given(new.signatures, preset.get("signatures", (SignatureScheme.PRYNT,))),
            timeout_s=_given(new.timeout_s, preset.get("timeout_s")),
            retry_schedule_s=_given(new.retry_schedule_s, preset.get("retry_schedule_s")),
            filter=_given(new.filter, None),
        )

    def change(self, webhook: Webhook, changes: WebhookInput) -> dict[str, Any]:
        """The fields that `changes` really changes, checked together with those that stay."""
        if changes.profile is not UNSET:
            raise InvalidFieldError("profile", "only counts on creation; change the fields it sets")
        before: dict[str, Any] = {name: getattr(webhook, name) for name in _FIELDS}
        # A rule that became stricter since (another configuration) must not keep a webhook from
        # being disabled: only what is given is looked at.
        given = [name for name in _FIELDS if getattr(changes, name) is not UNSET]
        after = self._checked(
            given,
            **{name: _given(getattr(changes, name), before[name]) for name in _FIELDS},
        )
        return {name: value for name, value in after.items() if value != before[name]}

    def _checked(
        self,
        given: Sequence[str],
        *,
        url: str,
        events: tuple[str, ...],
        description: str,
        enabled: bool,
        auth: BasicAuth | None,
        headers: tuple[tuple[str, str], ...],
        format: Format,
        signatures: tuple[SignatureScheme, ...],
        timeout_s: float | None,
        retry_schedule_s: tuple[float, ...] | None,
        filter: str | None,
    ) -> dict[str, Any]:
        if "url" in given:
            self._endpoint.check_url(url)
        if "events" in given:
            events = check_events(events, self._event_types)
        if format is Format.FINGERPRINT and events != (IDENTIFICATION,):
            raise InvalidFieldError(
                "events", f'must be ["{IDENTIFICATION}"] in the format "fingerprint"'
            )
        if len(description) > DESCRIPTION_MAX:
            raise InvalidFieldError(
                "description", f"must have at most {DESCRIPTION_MAX} characters"
            )
        if auth is not None:
            check_auth(auth)
        headers = check_headers(headers, has_auth=auth is not None)
        if not signatures:
            raise InvalidFieldError("signatures", 'must name at least one scheme, such as "prynt"')
        if timeout_s is not None and not TIMEOUT_MIN_S <= timeout_s <= TIMEOUT_MAX_S:
            raise InvalidFieldError(
                "timeout", f"must be from 1s to 30s, not {format_duration(timeout_s)}"
            )
        if retry_schedule_s is not None:
            _check_schedule(retry_schedule_s)
        if filter is not None and "filter" in given:
            self._check_filter(filter)
        return {
            "url": url,
            "events": events,
            "description": description,
            "enabled": enabled,
            "auth": auth,
            "headers": headers,
            "format": format,
            "signatures": tuple(dict.fromkeys(signatures)),
            "timeout_s": timeout_s,
            "retry_schedule_s": retry_schedule_s,
            "filter": filter,
        }


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


def _check_schedule(schedule_s: tuple[float, ...]) -> None:
    if len(schedule_s) > RETRIES_MAX:
        raise InvalidFieldError("retrySchedule", f"must have at most {RETRIES_MAX} entries")
    for number, delay_s in enumerate(schedule_s):
        if not 0.0 <= delay_s <= RETRY_MAX_S:
            raise InvalidFieldError(
                f"retrySchedule[{number}]",
                f"must be from 0s to 30d, not {format_duration(delay_s)}",
            )


def _given(value: T | UnsetType, default: T) -> T:
    return default if isinstance(value, UnsetType) else value
