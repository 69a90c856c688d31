"""Events as people read them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from prynt_relay.cli.prynt.delivery_view import list_deliveries
from prynt_relay.cli.prynt.moments import ago, exact
from prynt_relay.cli.prynt.pretty_json import lay_out, parse_verbatim
from prynt_relay.cli.prynt.terminal import Cell, Column, Terminal
from prynt_relay.escape import safe_block


def list_events(terminal: Terminal, events: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of events."""
    now_s = time.time()
    ids = Column("EVENT", [Cell(row["eventId"]) for row in events])
    types = Column("TYPE", [Cell(row["eventType"]) for row in events], 12)
    received = Column("RECEIVED", [Cell(ago(row["receivedAt"], now_s), "dim") for row in events])
    keys = Column("IDEMPOTENCY KEY", [Cell(row["idempotencyKey"]) for row in events], 16)
    created = Column("CREATED", [Cell(row["createdAt"], "dim") for row in events])
    terminal.table([[ids, types, received, keys, created], [ids, types, received, keys]])


def show_event(terminal: Terminal, text: str, event: Mapping[str, Any]) -> None:
    """Print one event; `text` is the API's answer, for its data's own digits."""
    now_s = time.time()
    terminal.say(Cell(event["eventId"], "bold"), "  ", event["eventType"])
    for label, value in (
        ("Created", exact(event["createdAt"], now_s)),
        ("Received", exact(event["receivedAt"], now_s)),
        ("Idempotency key", event["idempotencyKey"]),
    ):
        terminal.say(Cell(f"  {label:<17}", "dim"), value)
    terminal.blank()
    data = next(value for name, value in parse_verbatim(text) if name == "data")
    for line in safe_block(lay_out(data)).split("\n"):
        terminal.say(line)
    terminal.blank()
    deliveries = event["deliveries"]
    if deliveries:
        list_deliveries(terminal, deliveries, of_all=True)
        count = event.get("deliveryCount", len(deliveries))
        if count > len(deliveries):
            more = f"prynt webhooks deliveries --event-id {event['eventId']} --limit {count}"
            terminal.notice(f"These are {len(deliveries):,} of {count:,}: {more}")
    else:
        terminal.say(Cell("It went to no webhook: none was subscribed to it.", "dim"))
