"""Which fields a webhook may have together, and what a change of one of them looks at."""

from typing import Final

import pytest
from msgspec.structs import replace

from prynt_relay.errors import FieldConflictError, InvalidFieldError
from prynt_relay.model.event import EVENT_TYPES
from prynt_relay.model.states import Format
from prynt_relay.model.webhook import BasicAuth
from prynt_relay.model.webhook_input import WebhookInput
from prynt_relay.webhooks.endpoint import EndpointRules
from prynt_relay.webhooks.fields import FieldRules
from tests.unit.dispatching import webhook

RULES: Final = FieldRules(
    endpoint=EndpointRules(allow_http=False, allow_addresses=()),
    event_types=EVENT_TYPES,
    check_filter=lambda _: None,
)
OLD: Final = replace(
    webhook(1),
    url="http://127.0.0.1/",
    events=("gone.type",),
    description="x" * 2000,
    auth=BasicAuth("", ""),
    headers=(("Host", "x"), ("Authorization", "y")),
    format=Format.FINGERPRINT,
    signatures=(),
    timeout_s=99.0,
    retry_schedule_s=(1e9,),
)
"""As earlier rules may have let it in; today's refuse every field of it."""


def test_rules_that_became_stricter_do_not_keep_a_webhook_from_being_disabled() -> None:
    """Only what a change mentions is looked at."""
    assert RULES.change(OLD, WebhookInput(enabled=False)) == {"enabled": False}


@pytest.mark.parametrize(
    "name",
    [
        "url",
        "events",
        "description",
        "auth",
        "headers",
        "signatures",
        "timeout_s",
        "retry_schedule_s",
    ],
)
def test_what_a_change_mentions_is_looked_at(name: str) -> None:
    """A value that today's rules refuse is refused, though it is what the webhook has."""
    with pytest.raises(InvalidFieldError):
        RULES.change(OLD, WebhookInput(**{name: getattr(OLD, name)}))


def test_fields_that_contradict_each_other_are_told_apart_from_wrong_ones() -> None:
    """The error of a pair names both fields, whichever of them the change mentions."""
    now = replace(webhook(1), headers=(("authorization", "y"),))
    for change in (
        WebhookInput(auth=BasicAuth("u", "p")),
        WebhookInput(auth=BasicAuth("u", "p"), headers=now.headers),
    ):
        with pytest.raises(FieldConflictError) as error:
            RULES.change(now, change)
        assert (error.value.field, error.value.other) == ("headers.authorization", "auth")
    with pytest.raises(FieldConflictError) as error:
        RULES.change(now, WebhookInput(format=Format.FINGERPRINT))
    assert (error.value.field, error.value.other) == ("events", "format")
    assert RULES.change(now, WebhookInput(auth=BasicAuth("u", "p"), headers=())) == {
        "auth": BasicAuth("u", "p"),
        "headers": (),
    }
