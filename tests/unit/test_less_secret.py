"""What is shown of a URL where its keys must not be."""

import pytest

from prynt_relay.escape import less_secret


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://yourapp.com/webhooks/prynt", "https://yourapp.com/webhooks/prynt"),
        ("https://yourapp.com/hook?token=k3y&x=1", "https://yourapp.com/hook?…"),
        ("https://yourapp.com?token=k3y", "https://yourapp.com?…"),
        ("https://hooks.slack.com/services/T000/B000/XXXX", "https://hooks.slack.com/…"),
        ("https://Hooks.Slack.com/services/T000?x=1", "https://Hooks.Slack.com/…"),
        ("http://127.0.0.1:3000/x", "http://127.0.0.1:3000/x"),
    ],
)
def test_what_may_be_a_key_is_left_out(url: str, shown: str) -> None:
    """A query always, a path where Slack's host makes it one; the rest says where it goes."""
    assert less_secret(url) == shown


def test_a_path_is_a_key_wherever_slacks_format_is_sent() -> None:
    """A stand-in for Slack, as Mattermost is, has such URLs too."""
    url = "https://chat.yourapp.com/hooks/k3y"
    assert less_secret(url, is_slack=True) == "https://chat.yourapp.com/…"
