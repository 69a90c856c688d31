"""A delivery's attempts, request and response, as one would paste them into a ticket."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from prynt_relay.cli.prynt.delivery_view import outcome_cell, state_cell
from prynt_relay.cli.prynt.moments import exact, milliseconds, until
from prynt_relay.cli.prynt.pretty_json import pretty_json
from prynt_relay.cli.prynt.terminal import Cell, Terminal
from prynt_relay.escape import less_secret, safe_block

_SIGNATURES: Final = frozenset({"x-prynt-signature", "webhook-signature", "fpjs-event-signature"})
_REDACTED: Final = "(redacted; --show-signature shows it)"


def show_delivery(terminal: Terminal, delivery: Mapping[str, Any], *, show_signature: bool) -> None:
    """Print one delivery with every attempt."""
    now_s = time.time()
    terminal.say(Cell(delivery["id"], "bold"), "  ", state_cell(delivery))
    rows = [
        ("Event", f"{delivery['eventId']} {delivery['eventType']}"),
        ("Webhook", delivery["webhookId"]),
        ("Created", exact(delivery["createdAt"], now_s)),
    ]
    planned = delivery["nextAttemptAt"]
    if planned:
        rows.append(("Next attempt", f"{planned} ({until(planned, now_s)})"))
    elif delivery["state"] in ("failed", "held"):
        rows.append(("Next attempt", f"none; prynt webhooks retry {delivery['id']} makes one"))
    for label, text in rows:
        terminal.say(Cell(f"  {label:<14}", "dim"), text)
    if not delivery["attempts"]:
        terminal.say(Cell("  No attempt has been made yet.", "dim"))
    earlier: dict[str, int] = {}
    for attempt in delivery["attempts"]:
        terminal.blank()
        _heading(terminal, attempt)
        show_exchange(
            terminal,
            attempt,
            show_signature=show_signature,
            same_as=earlier.get(attempt["request"]["body"]),
        )
        earlier.setdefault(attempt["request"]["body"], attempt["number"])


def show_exchange(
    terminal: Terminal,
    attempt: Mapping[str, Any],
    *,
    show_signature: bool = False,
    same_as: int | None = None,
    request: bool = True,
) -> None:
    """Print an attempt's request and response; `same_as` names the attempt with the same body."""
    if request:
        sent = attempt["request"]
        terminal.blank()
        terminal.say(Cell("POST ", "bold"), less_secret(sent["url"]))
        _headers(terminal, sent["headers"], show_signature=show_signature)
        if same_as is not None:
            terminal.say(Cell(f"(the same body as in attempt {same_as})", "dim"))
        else:
            _body(terminal, sent["body"])
    terminal.blank()
    response = attempt["response"]
    if response is None:
        terminal.say(Cell("No response", "bold"), _because(attempt))
        return
    terminal.say(Cell(f"HTTP {response['status']}", "bold"), _because(attempt))
    _headers(terminal, response["headers"], show_signature=True)
    if response["body"]:
        _body(terminal, response["body"])
    if response["truncated"]:
        terminal.say(Cell("(the body goes on; the relay keeps its beginning)", "dim"))


def write_request(terminal: Terminal, attempt: Mapping[str, Any], *, headers: bool) -> None:
    """Write a request's body as it was sent; on a terminal what would drive it is spelled out."""
    sent = attempt["request"]
    if headers:
        for name, value in sent["headers"].items():
            terminal.notice(f"{name}: {value}")
    if sys.stdout.isatty():
        sys.stdout.write(safe_block(sent["body"]) + "\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(sent["body"].encode())
    sys.stdout.buffer.flush()


def _heading(terminal: Terminal, attempt: Mapping[str, Any]) -> None:
    response = attempt["response"]
    terminal.say(
        Cell(f"Attempt {attempt['number']}", "bold"),
        f"  {attempt['trigger']}  {attempt['startedAt']}  ",
        outcome_cell(attempt["outcome"], response["status"] if response else None),
        f" after {milliseconds(attempt['durationMs'])}",
    )
    message = attempt.get("message")
    if message:
        terminal.say(
            Cell(
                f"  in one message with {message['count'] - 1:,} more, "
                f"the first of them {message['deliveryId']}",
                "dim",
            )
        )


def _because(attempt: Mapping[str, Any]) -> str:
    # What an http_error was, its status says.
    told = attempt.get("error") if attempt["outcome"] != "http_error" else None
    return f": {told}" if told else ""


def _headers(terminal: Terminal, headers: Any, *, show_signature: bool) -> None:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        hide = not show_signature and name.lower() in _SIGNATURES
        for each in value if isinstance(value, list) else [value]:
            terminal.say(
                Cell(f"{name}: ", "cyan"), Cell(_REDACTED, "dim") if hide else Cell(str(each))
            )
    terminal.blank()


def _body(terminal: Terminal, body: str) -> None:
    for line in safe_block(pretty_json(body) or body.rstrip("\n")).split("\n"):
        terminal.say(line.expandtabs(4))
