"""What a caller wants of a webhook, before the rules for endpoints and headers have judged it."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import BasicAuth


class WebhookInput(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a creation or of a change (contract, sections 6 and 9).

    UNSET is what the caller did not mention: a creation takes the default, a change leaves it.
    None takes the field back to its default: no authentication, no filter, the configuration's
    timeout and schedule. Types are right here; whether a URL, a header or a filter is acceptable
    is for the webhooks room to say, with InvalidFieldError and the field's name as in the API.
    """

    url: str | UnsetType = UNSET
    events: tuple[str, ...] | UnsetType = UNSET
    description: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    auth: BasicAuth | UnsetType | None = UNSET
    headers: tuple[tuple[str, str], ...] | UnsetType = UNSET
    format: Format | UnsetType = UNSET
    signatures: tuple[SignatureScheme, ...] | UnsetType = UNSET
    timeout_s: float | UnsetType | None = UNSET
    retry_schedule_s: tuple[float, ...] | UnsetType | None = UNSET
    filter: str | UnsetType | None = UNSET
    profile: Literal["fingerprint"] | UnsetType = UNSET

    def __repr__(self) -> str:
        """Name only what was mentioned: the values may hold secrets."""
        named = [name for name in self.__struct_fields__ if getattr(self, name) is not UNSET]
        return f"WebhookInput({', '.join(named)})"
