"""What a dialect costs per delivery, and filters per event: microseconds of CPU.

    python -m tests.bench.dialects [--rounds 5]

The default, `prynt` with its own signature, is on every delivery's way; the rest only where a
webhook asks for it.
"""

import argparse
import asyncio
import timeit
from collections.abc import Callable

import msgspec

from prynt_relay.clock import SystemClock
from prynt_relay.model.event import NewEvent, StoredEvent
from prynt_relay.model.samples import sample_data
from prynt_relay.model.states import Format, SignatureScheme
from prynt_relay.model.webhook import Secrets, Webhook
from prynt_relay.transport import formats, signatures
from prynt_relay.webhooks.filters import Filters

DATA = msgspec.json.encode(sample_data("identification.complete"))
SECRETS = Secrets("whsec_a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6")
EVENT_ID = "evt_9fJ3kL7mNpR2x"
WEBHOOK_ID = "wh_3kR8mNqT7xP2v"


def _event(row: int) -> StoredEvent:
    return StoredEvent(
        row=row,
        event_id=EVENT_ID,
        event_type="identification.complete",
        api_version="2026-01-15",
        event_source="urn:prynt-relay",
        created_at_ms=1_771_069_522_341 + row,
        received_at_ms=1_771_069_522_341,
        idempotency_key="idk_a7f2c9e1b3d4",
        data=DATA,
    )


def _webhook(row: int, expression: str) -> Webhook:
    return Webhook(
        row=row,
        id=f"wh_{row}",
        url="https://a.example/",
        events=("*",),
        secrets=SECRETS,
        created_at_ms=0,
        updated_at_ms=0,
        filter=expression,
    )


def _cases() -> dict[str, Callable[[], object]]:
    events = [_event(row) for row in range(1, 65)]
    turn = iter(range(1 << 40))
    body = formats.render(Format.PRYNT, events[0], WEBHOOK_ID)
    filters = Filters(api_version="2026-01-15", clock=SystemClock())
    new = NewEvent("identification.complete", DATA)
    same = [_webhook(row, "data.scores.suspect > `50`") for row in range(1_000)]
    different = [_webhook(row, f"data.scores.suspect > `{row}`") for row in range(1_000)]

    def matched(webhooks: list[Webhook]) -> object:
        filters.turn.left = 1 << 40  # all in one turn of the loop
        return filters.matching(new, webhooks).go_on()

    def render(format: Format, *, fan_out: bool = False) -> Callable[[], object]:
        if fan_out:
            return lambda: formats.render(format, events[0], WEBHOOK_ID)
        return lambda: formats.render(format, events[next(turn) % 64], WEBHOOK_ID)

    def sign(*schemes: SignatureScheme) -> Callable[[], object]:
        return lambda: signatures.sign(
            schemes, SECRETS, wall_ms=1_771_069_522_341, event_id=EVENT_ID, body=body
        )

    return {
        "render prynt, another event each time": render(Format.PRYNT),
        "render prynt, the same event again": render(Format.PRYNT, fan_out=True),
        **{f"render {each.label}": render(each) for each in Format if each is not Format.PRYNT},
        **{f"sign {scheme.label}": sign(scheme) for scheme in SignatureScheme},
        "filter, 1 webhook": lambda: matched(same[:1]),
        "filter, 1,000 webhooks with the same one": lambda: matched(same),
        "filter, 1,000 webhooks with different ones": lambda: matched(different),
    }


def main() -> None:
    """Print a line for each case: the best of several rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asyncio.run(_measure(parser.parse_args().rounds))


async def _measure(rounds: int) -> None:
    print(f"`data` of {len(DATA)} bytes")
    for name, case in _cases().items():
        case()
        number = 20 if "1,000" in name else 5_000
        best_s = min(timeit.repeat(case, number=number, repeat=rounds)) / number
        print(f"{best_s * 1e6:10.2f} µs  {name}")


if __name__ == "__main__":
    main()
