"""`prynt webhooks test`."""

import json
import os
import time
from collections.abc import Mapping
from typing import Any

import click

from prynt_relay.cli.prynt.api_client import path_of
from prynt_relay.cli.prynt.attempt_view import show_exchange
from prynt_relay.cli.prynt.direct_test import check_url, sample_request, send_sample
from prynt_relay.cli.prynt.dry_run import dry_run as show_dry_run
from prynt_relay.cli.prynt.identifiers import EVENT_TYPE, WEBHOOK
from prynt_relay.cli.prynt.list_options import WHEN
from prynt_relay.cli.prynt.options import examples
from prynt_relay.cli.prynt.session import Session, with_session, write_json
from prynt_relay.cli.prynt.signatures import made_up_secret
from prynt_relay.cli.prynt.stream_view import show_test
from prynt_relay.escape import less_secret
from prynt_relay.model.catalogue import sample_data
from prynt_relay.model.event import EVENT_TYPES

_DEFAULT_TYPE = "identification.complete"


@click.command(
    epilog=examples(
        "prynt webhooks test wh_3kR8mNqT7xP2v --event verdict.block",
        "prynt webhooks test --url http://localhost:3000/webhooks/prynt \\",
        "    --event identification.complete",
        "prynt webhooks test wh_3kR8mNqT7xP2v --dry-run \\",
        "    --filter 'data.scores.suspect > `50`'",
    )
)
@click.argument("webhook", type=WEBHOOK, required=False)
@click.option("--url", metavar="URL", help="Send it from here to this URL; needs no daemon.")
@click.option(
    "--event",
    "event_type",
    type=EVENT_TYPE,
    metavar="TYPE",
    help=f"Which type of event. [default: one it subscribes to; with --url {_DEFAULT_TYPE}]",
)
@click.option(
    "--secret",
    metavar="SECRET",
    help="With --url: what to sign with. [$PRYNT_WEBHOOK_SECRET; default: made up]",
)
@click.option("--verbose", "-v", is_flag=True, help="Show the request too.")
@click.option(
    "--dry-run", is_flag=True, help="Send nothing: show which recent events WEBHOOK would get."
)
@click.option(
    "--filter",
    "expression",
    metavar="JMESPATH",
    help="With --dry-run: this filter instead of the webhook's.",
)
@click.option(
    "--since",
    type=WHEN,
    metavar="WHEN",
    help="With --dry-run: only what came in from then on; 24h, or ISO.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 250),
    default=20,
    show_default=True,
    metavar="N",
    help="With --dry-run: how many of the newest events.",
)
@with_session
def test(
    session: Session,
    webhook: str | None,
    url: str | None,
    event_type: str | None,
    secret: str | None,
    expression: str | None,
    since: str | None,
    limit: int,
    *,
    verbose: bool,
    dry_run: bool,
) -> int:
    """Send a realistic sample event now and show the answer.

    To WEBHOOK the daemon sends it, also while the webhook is disabled. Exits 1 unless the answer
    was 2xx.
    """
    if dry_run:
        if url is not None or secret is not None or (webhook is None and not expression):
            raise click.UsageError("--dry-run wants a webhook, a --filter, or both, and no --url")
        show_dry_run(session, webhook, expression, event_type, since, limit)
        return 0
    if expression is not None or since is not None:
        raise click.UsageError("--filter and --since go with --dry-run")
    if (webhook is None) == (url is None):
        raise click.UsageError("name a webhook, or a --url")
    if webhook is not None:
        if secret is not None:
            raise click.UsageError("--secret goes with --url; the daemon signs with the webhook's")
        body = {} if event_type is None else {"eventType": event_type}
        answer = session.client.send("POST", path_of("webhooks", webhook, "test"), body)
        text, attempt = answer.text, answer.value
    else:
        attempt = _direct(session, url or "", event_type or _DEFAULT_TYPE, secret)
        text = json.dumps(attempt, ensure_ascii=False)
    if session.json:
        write_json(text)
    else:
        _show(session, attempt, verbose=verbose)
    return 0 if attempt["outcome"] == "success" else 1


def _direct(session: Session, url: str, event_type: str, secret: str | None) -> dict[str, Any]:
    check_url(url)
    if not event_type.isascii() or not event_type.isprintable() or " " in event_type:
        raise click.UsageError("--event: a type is printable ASCII without spaces")
    if event_type not in EVENT_TYPES:
        session.terminal.notice(
            f"{event_type} is none of the specification's event types; a daemon takes it only "
            "where its extra_event_types name it. Sent all the same."
        )
    secret = secret or os.environ.get("PRYNT_WEBHOOK_SECRET")
    if not secret:
        secret = made_up_secret()
        session.terminal.notice(
            f"Signed with a secret made up for this test: {secret}; the receiver's own goes into "
            "--secret or $PRYNT_WEBHOOK_SECRET."
        )
    data = json.dumps(sample_data(event_type), ensure_ascii=False, separators=(",", ":"))
    return send_sample(url, sample_request(event_type, data, secret, time.time()))


def _show(session: Session, attempt: Mapping[str, Any], *, verbose: bool) -> None:
    response = attempt["response"]
    status = response["status"] if response else None
    show_test(
        session.terminal, {**attempt, "status": status}, less_secret(attempt["request"]["url"])
    )
    show_exchange(session.terminal, attempt, request=verbose)
    if "deliveryId" in attempt:
        session.terminal.notice(f"In the log: prynt webhooks inspect {attempt['deliveryId']}")
