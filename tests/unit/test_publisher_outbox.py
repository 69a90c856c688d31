import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from prynt_relay.publisher.outbox import Advice, Item, Outbox, ProtocolError
from prynt_relay.publisher.outcomes import Accepted, RefusedError, UnansweredError
from prynt_relay.publisher.request import new_key


class Caller:
    """A future that remembers its one answer, and that its room was given back."""

    def __init__(self) -> None:
        self.answer: Accepted | Exception | None = None
        self.released = 0

    def done(self) -> bool:
        return self.answer is not None

    def set_result(self, result: Accepted, /) -> None:
        assert not self.done()
        self.answer = result

    def set_exception(self, exception: Exception, /) -> None:
        assert not self.done()
        self.answer = exception

    def release(self, size: int) -> None:
        self.released += 1


class Model(RuleBasedStateMachine):
    """An outbox between callers and a relay that is cut off, refuses and forgets nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.now = 0.0
        self.items: list[Item] = []
        self.wire: list[int] = []  # sent over this connection and not processed by the relay
        self.stored: list[int] = []  # as the relay took them, each once
        self.answers: list[bytes] = []  # processed, and the answer not received
        self.first_sent: list[int] = []

    def caller(self, number: int) -> Caller:
        outcome = self.items[number].outcome
        assert isinstance(outcome, Caller)
        return outcome

    @rule(seconds=st.none() | st.integers(1, 20))
    def publish(self, seconds: int | None) -> None:
        number = len(self.items)
        caller = Caller()
        deadline = None if seconds is None else self.now + seconds
        self.items.append(
            Item(b'{"n":%d}\n' % number, f"k{number}", caller, deadline, caller.release)
        )
        self.outbox.add(self.items[-1])

    @rule(size=st.integers(1, 60))
    def send(self, size: int) -> None:
        for line in self.outbox.next_chunk(size).splitlines():
            number = json.loads(line)["n"]
            self.wire.append(number)
            if number not in self.first_sent:
                self.first_sent.append(number)

    @precondition(lambda self: self.wire)
    @rule(kind=st.sampled_from(["store", "store", "store", "invalid_event", "storage_unavailable"]))
    def process(self, kind: str) -> None:
        number = self.wire.pop(0)
        answer: dict[str, Any]
        if kind == "store" or number in self.stored:
            answer = {"ok": True, "eventId": f"evt_{number}", "duplicate": number in self.stored}
            if number not in self.stored:
                self.stored.append(number)
        else:
            answer = {"ok": False, "error": {"code": kind, "message": "why"}}
        self.answers.append(json.dumps(answer).encode() + b"\n")

    @precondition(lambda self: self.answers)
    @rule(split=st.integers(0, 30))
    def receive(self, split: int) -> None:
        data = b"".join(self.answers)
        self.answers = []
        self.outbox.receive(data[:split])
        self.outbox.receive(data[split:])

    @rule(processed=st.integers(0, 5), garbage=st.booleans())
    def cut(self, processed: int, garbage: bool) -> None:
        for number in self.wire[:processed]:
            if number not in self.stored:
                self.stored.append(number)
        self.wire = []
        self.answers = []
        if garbage:
            with pytest.raises(ProtocolError):
                self.outbox.receive(b"garbage\n")
        self.outbox.disconnected()

    @rule(seconds=st.integers(0, 10))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        earliest = self.outbox.expire(self.now, "time is over")
        left = [
            item.deadline
            for item in self.items
            if item.deadline is not None and not item.outcome.done()
        ]
        assert earliest == min(left, default=None)
        assert earliest is None or earliest > self.now

    @precondition(lambda self: self.items)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        caller = self.caller(data.draw(st.integers(0, len(self.items) - 1)))
        if not caller.done():
            caller.answer = RuntimeError("gave up")

    @invariant()
    def tells_the_truth(self) -> None:
        for number in range(len(self.items)):
            answer = self.caller(number).answer
            if isinstance(answer, Accepted):
                assert number in self.stored
            if isinstance(answer, RefusedError):
                assert number not in self.stored
            if isinstance(answer, UnansweredError) and not answer.maybe_accepted:
                assert number not in self.stored

    @invariant()
    def keeps_account(self) -> None:
        released = [self.caller(number).released for number in range(len(self.items))]
        assert set(released) <= {0, 1}
        assert released.count(0) == len(self.outbox)
        assert self.first_sent == sorted(self.first_sent)

    def teardown(self) -> None:
        self.outbox.disconnected()
        self.outbox.give_up("closed")
        self.tells_the_truth()
        for number in range(len(self.items)):
            assert self.caller(number).done()
            assert self.caller(number).released == 1
        assert len(self.outbox) == 0


# Whatever happens, every caller gets one answer, which is true, and room is given back.
TestOutbox = Model.TestCase
TestOutbox.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def sent_item(outbox: Outbox, number: int = 1) -> Caller:
    caller = Caller()
    outbox.add(Item(b"%d\n" % number, "k", caller, None, caller.release))
    outbox.next_chunk(1000)
    return caller


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (b'{"ok":true,"eventId":"evt_1","duplicate":false}\n', Advice.GO_ON),
        (b'{"ok":false,"error":{"code":"invalid_event","message":"x"}}\n', Advice.GO_ON),
        (b'{"ok":false,"error":{"code":"storage_unavailable","message":"x"}}\n', Advice.PAUSE),
        (b'{"ok":false,"error":{"code":"shutting_down","message":"x"}}\n', Advice.LEAVE),
    ],
)
def test_answers_advise(answer: bytes, advice: Advice) -> None:
    """An answer says something of the event, and something of the relay."""
    outbox = Outbox()
    caller = sent_item(outbox)
    assert outbox.receive(answer) is advice
    assert caller.done() == (advice is Advice.GO_ON)


def test_leaving_outweighs_pausing() -> None:
    """Of several answers read together the gravest advice counts."""
    outbox = Outbox()
    for number in range(3):
        sent_item(outbox, number)
    codes = ["shutting_down", "storage_unavailable", "invalid_event"]
    answers = [{"ok": False, "error": {"code": code, "message": "x"}} for code in codes]
    data = b"".join(json.dumps(answer).encode() + b"\n" for answer in answers)
    assert outbox.receive(data) is Advice.LEAVE


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"x\n",
        b"5\n",
        b"{}\n",
        b'{"ok":1}\n',
        b'{"ok":true}\n',
        b'{"ok":false}\n',
        b"x" * 2**21,
    ],
)
def test_what_is_no_answer_is_noticed(garbage: bytes) -> None:
    """It leaves the event where it was: nobody is told anything untrue."""
    outbox = Outbox()
    caller = sent_item(outbox)
    with pytest.raises(ProtocolError):
        outbox.receive(garbage)
    assert not caller.done()
    assert outbox.sent == 1


def test_an_answer_to_nothing_is_noticed() -> None:
    """More answers than questions: the two have lost each other."""
    with pytest.raises(ProtocolError):
        Outbox().receive(b'{"ok":true,"eventId":"evt_1","duplicate":false}\n')


def test_made_keys_are_unlike_and_ordered_by_time() -> None:
    """New keys are neighbours in the relay's index, and none has the form of the relay's own."""
    keys = [new_key() for _ in range(1000)]
    assert len(set(keys)) == 1000
    assert [key[:16] for key in keys] == sorted(key[:16] for key in keys)
    assert all(key.startswith("pub_") and key.isprintable() for key in keys)
