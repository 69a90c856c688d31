"""The delivery's state machine, as drawn and as in force."""

import re
from pathlib import Path

from prynt_relay.model.states import TRANSITIONS, DeliveryState

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_the_drawing_is_the_code() -> None:
    """Every arrow in docs/architecture.md is a transition, and every transition is drawn."""
    drawn = re.findall(r"^ +(\w+) --> (\w+): \S", ARCHITECTURE.read_text(), re.MULTILINE)
    assert {(DeliveryState[a.upper()], DeliveryState[b.upper()]) for a, b in drawn} == TRANSITIONS
    assert len(drawn) == len(TRANSITIONS)


def test_numbers_on_disk_never_change() -> None:
    """The database stores these numbers; renumbering would rewrite history."""
    assert [(s.label, int(s)) for s in DeliveryState] == [
        ("scheduled", 0),
        ("delivered", 1),
        ("failed", 2),
        ("held", 3),
        ("cancelled", 4),
    ]
