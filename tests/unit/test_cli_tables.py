"""Tables at the widths that terminals have; each compared whole."""

from typing import Any

import pytest
from rich.cells import cell_len

from prynt_relay.cli.prynt import delivery_view, stream_view, webhook_view
from prynt_relay.cli.prynt.delivery_view import list_deliveries
from prynt_relay.cli.prynt.moments import parse_moment
from prynt_relay.cli.prynt.terminal import Cell, Column, Terminal, cut_middle
from prynt_relay.cli.prynt.webhook_view import list_webhooks

NOW_S = parse_moment("2026-02-14T12:00:00Z")


@pytest.fixture(autouse=True)
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (delivery_view, stream_view, webhook_view):
        monkeypatch.setattr(module.time, "time", lambda: NOW_S)


def delivery(number: int, event_type: str, state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"del_x9K2mNpR7jT{number:02d}",
        "webhookId": "wh_3kR8mNqT7xP2v",
        "eventId": f"evt_9fJ3kL7mNpR{number:02d}",
        "eventType": event_type,
        "state": state,
        "createdAt": "2026-02-14T11:48:00.000Z",
        "nextAttemptAt": None,
        "attemptCount": 1,
        "lastOutcome": "success",
        "lastStatus": 200,
        **more,
    }


DELIVERIES = [
    delivery(1, "verdict.block", "scheduled", attemptCount=0, lastOutcome=None, lastStatus=None,
             nextAttemptAt="2026-02-14T12:00:00Z"),
    delivery(2, "identification.complete", "scheduled", lastOutcome="connection_refused",
             lastStatus=None, nextAttemptAt="2026-02-14T12:04:00Z"),
    delivery(3, "identification.complete", "delivered"),
    delivery(4, "signal.bot.detected", "failed", attemptCount=3, lastOutcome="http_error",
             lastStatus=503, createdAt="2026-02-12T11:48:00.000Z"),
    delivery(5, "rule.matched", "held", attemptCount=0, lastOutcome=None, lastStatus=None),
]  # fmt: skip

ONE_AT_80 = """\
DELIVERY           TYPE                     STATE      LAST     NEXT   AGE
del_x9K2mNpR7jT01  verdict.block            scheduled  -        now    12m
del_x9K2mNpR7jT02  identification.complete  scheduled  refused  in 4m  12m
del_x9K2mNpR7jT03  identification.complete  delivered  200      -      12m
del_x9K2mNpR7jT04  signal.bot.detected      failed     503      -      2d
del_x9K2mNpR7jT05  rule.matched             held       -        -      12m
"""

ALL_AT_80 = """\
DELIVERY           WEBHOOK           TYPE                   STATE        LAST
del_x9K2mNpR7jT01  wh_3kR8mNqT7xP2v  verdict.block          scheduled    -
del_x9K2mNpR7jT02  wh_3kR8mNqT7xP2v  identification.compl…  retry in 4m  refused
del_x9K2mNpR7jT03  wh_3kR8mNqT7xP2v  identification.compl…  delivered    200
del_x9K2mNpR7jT04  wh_3kR8mNqT7xP2v  signal.bot.detected    failed       503
del_x9K2mNpR7jT05  wh_3kR8mNqT7xP2v  rule.matched           held         -
"""

ALL_AT_160 = """\
DELIVERY           WEBHOOK           EVENT              TYPE                     STATE      TRIES  LAST                NEXT   CREATED
del_x9K2mNpR7jT01  wh_3kR8mNqT7xP2v  evt_9fJ3kL7mNpR01  verdict.block            scheduled      0  -                   now    12m ago
del_x9K2mNpR7jT02  wh_3kR8mNqT7xP2v  evt_9fJ3kL7mNpR02  identification.complete  scheduled      1  connection_refused  in 4m  12m ago
del_x9K2mNpR7jT03  wh_3kR8mNqT7xP2v  evt_9fJ3kL7mNpR03  identification.complete  delivered      1  200                 -      12m ago
del_x9K2mNpR7jT04  wh_3kR8mNqT7xP2v  evt_9fJ3kL7mNpR04  signal.bot.detected      failed         3  http_error 503      -      2d ago
del_x9K2mNpR7jT05  wh_3kR8mNqT7xP2v  evt_9fJ3kL7mNpR05  rule.matched             held           0  -                   -      12m ago
"""  # noqa: E501 - a screen of 160 columns


@pytest.mark.parametrize(
    ("columns", "of_all", "shown"),
    [("80", False, ONE_AT_80), ("80", True, ALL_AT_80), ("160", True, ALL_AT_160)],
)
def test_deliveries_fit_the_width(
    columns: str,
    of_all: bool,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Narrow terminals get fewer and shorter columns; a failing row keeps its next attempt."""
    monkeypatch.setenv("COLUMNS", columns)
    list_deliveries(Terminal(), DELIVERIES, of_all=of_all)
    assert capsys.readouterr().out == shown
    assert max(map(len, shown.splitlines())) <= int(columns)


def test_a_long_event_type_is_shortened_instead_of_costing_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 120 columns every delivery keeps its tries and its next attempt beside one long type."""
    monkeypatch.setenv("COLUMNS", "120")
    long = delivery(6, "company." + "x" * 55, "delivered")
    list_deliveries(Terminal(), [*DELIVERIES, long], of_all=True)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120
    for title in ("TRIES", "LAST", "NEXT", "CREATED"):
        assert title in lines[0]
    assert "  company.xxxxxxxx" in lines[-1]
    assert "x…  delivered" in lines[-1]


def test_nothing_is_cut_off_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a pipe reads has every column at its full width."""
    monkeypatch.delenv("COLUMNS", raising=False)
    list_deliveries(Terminal(), DELIVERIES, of_all=True)
    assert capsys.readouterr().out == ALL_AT_160


def webhook(number: int, url: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"wh_3kR8mNqT7xP{number:02d}",
        "url": url,
        "events": ["verdict.block", "alert.triggered"],
        "description": "",
        "enabled": True,
        "disabledReason": None,
        "disabledAt": None,
        "failingSince": None,
        "createdAt": "2026-02-10T12:00:00.000Z",
        "updatedAt": "2026-02-10T12:00:00.000Z",
        "format": "prynt",
        **more,
    }


WEBHOOKS = [
    webhook(1, "https://yourapp.com/webhooks/prynt?token=hidden", description="Fraud alerts"),
    webhook(2, "https://hooks.slack.com/services/T0/B0/hidden", format="slack",
            failingSince="2026-02-14T09:00:00Z"),
    webhook(3, "https://staging.example.com/api/v2/integrations/incoming", events=["*"],
            enabled=False, disabledReason="failing"),
    webhook(4, "https://日本.example/受信", enabled=False, disabledReason="manual"),
]  # fmt: skip

WEBHOOKS_AT_80 = """\
WEBHOOK           STATE              URL                 EVENTS      DESCRIPTION
wh_3kR8mNqT7xP01  enabled            yourapp.…s/prynt?…  verdict.b…  Fraud aler…
wh_3kR8mNqT7xP02  failing 3h         hooks.slack.com/…   verdict.b…
wh_3kR8mNqT7xP03  disabled: failing  staging.…/incoming  all
wh_3kR8mNqT7xP04  disabled           日本.example/受信   verdict.b…
"""

WEBHOOKS_AT_160 = """\
WEBHOOK           STATE              URL                                                       EVENTS                          DESCRIPTION   CREATED
wh_3kR8mNqT7xP01  enabled            https://yourapp.com/webhooks/prynt?…                      verdict.block, alert.triggered  Fraud alerts  4d ago
wh_3kR8mNqT7xP02  failing 3h         https://hooks.slack.com/…                                 verdict.block, alert.triggered                4d ago
wh_3kR8mNqT7xP03  disabled: failing  https://staging.example.com/api/v2/integrations/incoming  all                                           4d ago
wh_3kR8mNqT7xP04  disabled           https://日本.example/受信                                 verdict.block, alert.triggered                4d ago
"""  # noqa: E501 - a screen of 160 columns


@pytest.mark.parametrize(("columns", "shown"), [("80", WEBHOOKS_AT_80), ("160", WEBHOOKS_AT_160)])
def test_webhooks_fit_the_width(
    columns: str,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Wide characters line up, and what of a URL may be a key is not listed."""
    monkeypatch.setenv("COLUMNS", columns)
    list_webhooks(Terminal(), WEBHOOKS)
    out = capsys.readouterr().out
    assert out == shown
    assert "hidden" not in out


def test_webhooks_on_one_host_can_be_told_apart_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The end of each path shows, and the description, also where the state is a long one."""
    monkeypatch.setenv("COLUMNS", "80")
    urls = [f"http://127.0.0.1:13001/receivers/of/tenant-{name}" for name in ("ada", "bob", "eve")]
    rows = [webhook(n, url, description=url[-3:].upper()) for n, url in enumerate(urls)]
    rows[1] |= {"enabled": False, "disabledReason": "failing"}
    list_webhooks(Terminal(), rows)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for line, name in zip(lines[1:], ("ada", "bob", "eve"), strict=True):
        assert f"  127.0.0.…enant-{name}  " in line
        assert line.endswith(name.upper())


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abcdefghij", 10, "abcdefghij"),
        ("abcdefghij", 9, "abcd…ghij"),
        ("abcdefghij", 8, "abc…ghij"),
        ("日本語受信箱", 8, "日…信箱"),
        ("日本語受信箱", 5, "日…箱"),
        ("abcdefghij", 1, "…"),
    ],
)
def test_a_middle_is_cut_out_within_the_width(text: str, width: int, shown: str) -> None:
    """Beginning and end stay, wide characters whole."""
    assert cut_middle(text, width) == shown
    assert cell_len(shown) <= width


def test_markup_and_control_characters_are_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither rich's markup nor an escape sequence in a cell or a line does anything."""
    monkeypatch.setenv("COLUMNS", "80")
    hostile = "[red]x[/red] \x1b[31m\r :boom:"
    terminal = Terminal()
    terminal.table([[Column("A", [Cell(hostile)])]])
    terminal.say(hostile)
    shown = r"[red]x[/red] \x1b[31m\x0d :boom:"
    assert capsys.readouterr().out == f"A\n{shown}\n{shown}\n"


def test_a_terminal_too_narrow_for_any_layout_still_gets_everything_that_matters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 40 columns the rows are longer than the screen, and no id or state is cut."""
    monkeypatch.setenv("COLUMNS", "40")
    list_deliveries(Terminal(), DELIVERIES, of_all=True)
    out = capsys.readouterr().out
    for row in DELIVERIES:
        assert row["id"] in out
    assert "retry in 4m" in out


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        ("2026-02-14T12:05:00.000Z", "retry in 5m"),
        ("2026-02-14T12:00:01.000Z", "retry in 1s"),
        ("2026-02-14T12:00:00.400Z", "retry in 1s"),
        ("2026-02-14T12:00:00.000Z", "retry now"),
    ],
)
def test_a_stream_tells_when_the_retry_is(
    moment: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Now is only what is due: a second's pause is mostly over when its attempt is shown."""
    attempt = {
        **delivery(1, "verdict.block", "scheduled", nextAttemptAt=moment),
        "startedAt": "2026-02-14T11:59:59.900Z",
        "durationMs": 12,
        "outcome": "timeout",
    }
    stream_view.show_attempt(Terminal(), attempt, "yourapp.com")
    assert capsys.readouterr().out.rstrip().endswith(told)
