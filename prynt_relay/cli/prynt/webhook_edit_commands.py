"""`prynt webhooks create` and `update`."""

from typing import Any

import click

from prynt_relay.cli.prynt.api_client import path_of
from prynt_relay.cli.prynt.identifiers import WEBHOOK
from prynt_relay.cli.prynt.options import examples
from prynt_relay.cli.prynt.session import Session, with_session
from prynt_relay.cli.prynt.webhook_fields import field_options, fields
from prynt_relay.cli.prynt.webhook_view import show_secret, show_webhook


@click.command(
    epilog=examples(
        "prynt webhooks create https://yourapp.com/webhooks/prynt \\",
        "    --events verdict.block,alert.triggered --description 'Fraud alerts'",
        "prynt webhooks create https://old.example.com/fp --profile fingerprint",
        "prynt webhooks create https://hooks.slack.com/services/… --format slack \\",
        "    --events verdict.block --filter 'data.scores.suspect > `50`'",
    )
)
@click.argument("url")
@field_options
@click.option("--disabled", is_flag=True, help="Create it disabled: its events are held.")
@click.option(
    "--profile", type=click.Choice(["fingerprint"]), help="Defaults for a known kind of receiver."
)
@with_session
def create(
    session: Session, url: str, *, disabled: bool, profile: str | None, **options: Any
) -> None:
    """Create a webhook and show its signing secret, this once.

    URL is https on a public name. Store the secret where the receiver finds it; it can't be shown
    again, only rotated.
    """
    body = {"url": url, **fields(session, options)}
    if "events" not in body and profile is None:
        raise click.UsageError("give --events TYPE,… ('*' for all), or a --profile that has some")
    if disabled:
        body["enabled"] = False
    if profile is not None:
        body["profile"] = profile
    answer = session.client.send("POST", path_of("webhooks"), body)
    if session.json:
        session.print_json(answer)
        return
    show_webhook(session.terminal, answer.value)
    show_secret(session.terminal, answer.value["signingSecret"])
    session.terminal.notice(f"Try it: prynt webhooks test {answer.value['id']}")


@click.command(
    epilog=examples(
        "prynt webhooks update wh_3kR8mNqT7xP2v \\",
        "    --events verdict.block,verdict.challenge",
        "prynt webhooks update wh_3kR8mNqT7xP2v --timeout 5s --retry-schedule 1m,10m",
        "prynt webhooks update wh_3kR8mNqT7xP2v --no-basic-auth --filter ''",
    )
)
@click.argument("webhook", type=WEBHOOK)
@click.option("--url", metavar="URL", help="Where it is sent.")
@field_options
@click.option("--no-basic-auth", is_flag=True, help="Send no HTTP basic authentication.")
@click.option("--no-headers", is_flag=True, help="Send no headers of its own.")
@with_session
def update(
    session: Session,
    webhook: str,
    *,
    url: str | None,
    no_basic_auth: bool,
    no_headers: bool,
    **options: Any,
) -> None:
    """Change a webhook; what isn't mentioned stays as it is.

    --events, --header and --signature replace the whole list. An empty --filter removes it;
    "default" for --timeout or --retry-schedule takes it back to the configuration's.
    """
    body = fields(session, options)
    for flag, option, name, empty in (
        (no_basic_auth, "basic-auth", "auth", None),
        (no_headers, "headers", "headers", {}),
    ):
        if flag and name in body:
            raise click.UsageError(f"--no-{option} contradicts what sets it")
        if flag:
            body[name] = empty
    if url is not None:
        body["url"] = url
    if not body:
        raise click.UsageError("nothing to change; name at least one option")
    answer = session.client.send("PATCH", path_of("webhooks", webhook), body)
    if session.json:
        session.print_json(answer)
    else:
        show_webhook(session.terminal, answer.value)
