"""How a webhook stood at every moment, as far as operators could see."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from typing import Any, NamedTuple

from tests.simulation.sim_journal import Ask, Entry, Journal


class Context(NamedTuple):
    """How it stands after an entry."""

    entry: Entry
    status: str = "on"  # off, maybe: as long as nobody was told
    hold: bool = False  # what is scheduled may become held
    gone: int = 0  # 1: being deleted, 2: deleted
    asks: tuple[Ask, ...] = ()  # retries that may be applied now
    up: bool = False
    forced: int = 0  # counts the times from which on nothing of before is scheduled


NEVER = 1 << 62


class Story:
    """Its contexts, one for each entry that matters to it, from its creation on."""

    def __init__(self, journal: Journal, row: int) -> None:
        mine = journal.by_webhook[row]
        born = mine[0].seq
        entries = sorted([*mine, *(entry for entry in journal.globals if entry.seq > born)])
        context = Context(entries[0], up=True)
        self.contexts: list[Context] = []
        # Where retries of one delivery, or of many (None), are asked for or still to be done.
        self._asked: dict[tuple[int, int] | None, list[int]] = defaultdict(list)
        for index, entry in enumerate(entries):
            calls = entry.kind in ("ask_call", "window_call")
            asks = (*context.asks, entry.what) if calls else context.asks
            for delivery in {ask.delivery for ask in asks}:
                self._asked[delivery].append(index)
            context = _after(context._replace(entry=entry), row)
            self.contexts.append(context)
        self._seqs = [entry.seq for entry in entries]
        self._boots = [entry.seq for entry in entries if entry.kind == "boot"]
        # When its deletion was asked for, and when it was done.
        self.going_seq = next((c.entry.seq for c in self.contexts if c.gone), NEVER)
        self.gone_seq = next((c.entry.seq for c in self.contexts if c.gone == 2), NEVER)

    def first_after(self, seq: int) -> int:
        """The index of the first context that came after an entry."""
        return bisect_right(self._seqs, seq)

    def before(self, index: int) -> Context:
        """How it stood before a context."""
        contexts = self.contexts
        return contexts[index - 1] if index else Context(contexts[0].entry, status="maybe")

    def next_boot(self, seq: int) -> int:
        """The number of the first start after an entry."""
        found = bisect_right(self._boots, seq)
        return self._boots[found] if found < len(self._boots) else NEVER

    def next_asked(self, delivery: tuple[int, int], index: int) -> int:
        """From an index on, where a retry that may be of this delivery is under way.

        Nothing else can concern a delivery that is over.
        """
        return min(self._next(None, index), self._next(delivery, index))

    def _next(self, delivery: tuple[int, int] | None, index: int) -> int:
        indexes = self._asked.get(delivery, ())
        found = bisect_left(indexes, index)
        return indexes[found] if found < len(indexes) else len(self.contexts)


def _after(context: Context, row: int) -> Context:
    kind, what = context.entry.kind, context.entry.what
    if kind in ("delete_call", "delete_done"):
        return context._replace(gone=1 if kind == "delete_call" else 2)
    if kind == "stopping":
        # What is in flight goes on for as long as the drain allows; nothing else is begun.
        return context._replace(up=False)
    if kind == "boot":
        return _booted(context, row, what)
    if kind in ("crash", "stop"):
        windows = tuple(ask for ask in context.asks if ask.delivery is None)
        return context._replace(asks=windows, up=False)
    return _asked(_switched(context, kind, what), kind, what)


def _switched(context: Context, kind: str, what: Any) -> Context:
    """After an entry that turns it on or off."""
    match kind:
        case "created":
            return context._replace(status="on" if what[1] else "off", hold=not what[1])
        case "disable_call":
            status = "maybe" if context.status == "on" else context.status
            return context._replace(status=status, hold=True)
        case "disable_done" | "failing":
            return context._replace(status="off", hold=True)
        case "enable_call":
            return context._replace(status="on" if context.status == "on" else "maybe")
        case "enable_done":
            return _enabled(context)
    return context


def _asked(context: Context, kind: str, what: Any) -> Context:
    """After an entry about a retry."""
    match kind:
        case "ask_call" | "window_call":
            return context._replace(asks=(*context.asks, what))
        case "ask_done" | "ask_refused" | "window_refused":
            return context._replace(asks=tuple(ask for ask in context.asks if ask is not what))
        case "jobs_done":
            left = tuple(ask for ask in context.asks if ask.number not in what)
            return context._replace(asks=left)
    return context


def _enabled(context: Context) -> Context:
    """On again: everything that was scheduled before is held, and stays so until asked for."""
    return context._replace(
        status="on", hold=False, forced=context.forced + (1 if context.hold else 0)
    )


def _booted(context: Context, row: int, webhooks: dict[int, bool]) -> Context:
    # What is left of a window is made due from here on; the schedule's clock may go on from where
    # it was last noted, a moment before the window was asked for.
    asks = tuple(ask.no_later_than(context.entry.at) for ask in context.asks)
    context = context._replace(up=True, asks=asks)
    if row not in webhooks:
        return context._replace(gone=2)
    if not webhooks[row]:
        return context._replace(status="off", hold=True, gone=0)
    if context.status == "on":
        return context._replace(gone=0)
    # Either its enabling reached the disk, or its disabling did not.
    return context._replace(status="on", hold=False, gone=0)
