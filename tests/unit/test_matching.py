"""Many filters on one event: none holds the loop for long, and no webhook is lost on the way."""

import gc
import time
from typing import Any

import pytest
from msgspec.structs import replace

from prynt_relay.model.event import NewEvent, Target
from prynt_relay.model.states import DeliveryState, Format
from prynt_relay.model.webhook import Secrets, Webhook
from prynt_relay.webhooks import filters as filters_module
from prynt_relay.webhooks.filters import Filters, compile_filter
from prynt_relay.webhooks.registry import Registry, Unfinished
from tests.clock import FakeClock, turns
from tests.pace import stretched
from tests.unit.test_filters import HOSTILE, LARGE_EVENTS

MOST_HELD_MS = 50


def webhook(row: int, expression: str | None = "data.n == `1`", **fields: Any) -> Webhook:
    return Webhook(
        row=row,
        id=f"wh_{row:013d}",
        url="https://a.example/",
        events=("*",),
        secrets=Secrets("whsec_x"),
        created_at_ms=0,
        updated_at_ms=0,
        filter=expression,
        **fields,
    )


def filters(**given: Any) -> Filters:
    return Filters(api_version="2026-01-15", clock=FakeClock(), **given)


@pytest.mark.parametrize("name", LARGE_EVENTS)
async def test_a_thousand_hostile_filters_hold_no_turn_for_long(name: str) -> None:
    """All different, on the largest events: each is asked once, in many short turns."""
    told: list[int] = []
    asked = filters(on_failure=lambda webhook, _: told.append(webhook.row))
    hooks = [webhook(row, f"({HOSTILE[row % len(HOSTILE)]}) && `{row}`") for row in range(1000)]
    compile_filter.cache_clear()  # as after a start
    data = LARGE_EVENTS[name]
    matching = asked.matching(NewEvent("verdict.block", data), hooks)
    gc.disable()  # what a collection takes grows with what the whole test run keeps
    held_ms = []
    found = None
    while found is None:
        started = time.thread_time()
        found = matching.go_on()
        held_ms.append((time.thread_time() - started) * 1000)
        await turns(1)
    gc.enable()
    assert max(held_ms) < stretched(MOST_HELD_MS)
    assert len(held_ms) > 50
    rows = [each.row for each in found]
    assert rows == sorted(set(rows))
    assert len(told) == len(set(told))
    assert not set(rows) & set(told)
    assert told, "none of them failed: they aren't hostile"


async def test_all_events_of_a_turn_share_what_a_turn_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two hundred lines with a cheap filter each are a turn's work too."""
    monkeypatch.setattr(filters_module, "TURN_STEPS", 100)
    compile_filter("data.n == `1`").compiling = 0
    asked = filters()
    done = 0
    hook = [webhook(1)]
    while asked.matching(NewEvent("verdict.block", b'{"n":1}'), hook).go_on() == hook:
        done += 1
    assert 2 < done < 500
    waiting = asked.matching(NewEvent("verdict.block", b'{"n":1}'), hook)
    assert waiting.go_on() is None
    await turns(1)
    assert waiting.go_on() == hook


async def finished(unfinished: Unfinished) -> tuple[Target, ...]:
    while (found := unfinished.go_on()) is None:
        await turns(1)
    return found


async def test_what_changes_meanwhile_is_seen_at_the_end() -> None:
    """Deleted and unsubscribed ones get nothing, disabled ones hold; formats are the newest."""
    asked = filters()
    registry = Registry([webhook(row) for row in range(1, 7)], matches=asked.matching)
    registry.put(webhook(7, None))
    asked.turn.spend(10**9)
    found = registry.targets(NewEvent("verdict.block", b'{"n":1}'))
    assert isinstance(found, Unfinished)
    registry.remove(1)
    registry.put(replace(webhook(2), enabled=False))
    registry.put(replace(webhook(3), events=("visitor.new",)))
    registry.put(replace(webhook(4), format=Format.SLACK))
    registry.put(replace(webhook(5), filter="data.n == `2`"))  # the event came before that
    registry.put(replace(webhook(7), filter="`false`"))
    registry.put(webhook(8))
    assert await finished(found) == (
        Target(7, DeliveryState.SCHEDULED, Format.PRYNT),
        Target(2, DeliveryState.HELD, Format.PRYNT),
        Target(4, DeliveryState.SCHEDULED, Format.SLACK),
        Target(5, DeliveryState.SCHEDULED, Format.PRYNT),
        Target(6, DeliveryState.SCHEDULED, Format.PRYNT),
    )


async def test_webhooks_without_filters_never_wait() -> None:
    """Nor does an event for which all filters could be asked at once."""
    asked = filters()
    registry = Registry([webhook(1, None), webhook(2)], matches=asked.matching)
    both = registry.targets(NewEvent("verdict.block", b'{"n":1}'))
    assert isinstance(both, tuple)
    assert [target.webhook_row for target in both] == [1, 2]
    registry.remove(2)
    asked.turn.spend(10**9)
    assert isinstance(registry.targets(NewEvent("verdict.block", b"{}")), tuple)
