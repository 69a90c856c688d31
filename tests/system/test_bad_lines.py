"""What publishers get wrong, against the installed daemon."""

from pathlib import Path

from tests.system.daemons import Daemon
from tests.unit.intake_lines import BAD_LINES, MAX_PAYLOAD

GOOD = {"eventType": "visitor.new", "data": {}}
MEGABYTE = 1024 * 1024


async def test_every_bad_line_gets_its_code_and_the_connection_goes_on(tmp_path: Path) -> None:
    """Each line of the table is answered with its code and a message; a good one still works."""
    async with Daemon(tmp_path) as daemon, daemon.publisher() as lines:
        for line, code in BAD_LINES:
            answer = await lines.send_line(line)
            assert answer["ok"] is False
            assert (line[:80], answer["error"]["code"]) == (line[:80], code)
            assert answer["error"]["message"]
            assert set(answer) == {"ok", "error"}
        assert (await lines.send(GOOD))["ok"] is True


async def test_the_size_is_exact_to_the_byte(tmp_path: Path) -> None:
    """A delivered body of exactly 256 KB is taken, one byte more is refused."""
    async with Daemon(tmp_path) as daemon, daemon.publisher() as lines:
        envelope = (
            '{"webhookId":"wh_0123456789abc","eventId":"evt_0123456789abc","eventType":'
            '"visitor.new","apiVersion":"2026-01-15","createdAt":"2026-02-14T11:45:22.341Z",'
            '"idempotencyKey":"idk_0123456789ab","data":}'
        )
        room = MAX_PAYLOAD - len(envelope)
        for extra, ok in ((0, True), (1, False)):
            data = b'{"a":"' + b"x" * (room - 8 + extra) + b'"}'
            answer = await lines.send_line(b'{"eventType":"visitor.new","data":' + data + b"}")
            assert answer["ok"] is ok
        assert answer["error"]["code"] == "payload_too_large"


async def test_a_hundred_megabytes_without_a_newline_cost_no_memory(tmp_path: Path) -> None:
    """An endless line is skipped to its end; the daemon's memory hardly moves."""
    async with Daemon(tmp_path) as daemon, daemon.publisher() as lines:
        await lines.send(GOOD)
        before_mb = daemon.memory_mb()
        highest_mb = before_mb
        for _ in range(100):
            lines.writer.write(b"x" * MEGABYTE)
            await lines.writer.drain()
            highest_mb = max(highest_mb, daemon.memory_mb())
        lines.writer.write(b"\n")
        assert (await lines.answer())["error"]["code"] == "payload_too_large"
        assert highest_mb - before_mb < 10
        assert (await lines.send(GOOD))["ok"] is True
