"""After the wall clock jumped people are told times of the wall, though the schedule goes on."""

from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from prynt_relay.clock import SystemClock
from tests.integration.api_client import Api
from tests.integration.receivers import Receiver, Reply
from tests.integration.relays import local_config, running
from tests.integration.test_api_streams import following

HOUR_MS = 3_600_000


class JumpingClock(SystemClock):
    """The machine's clocks, with a wall that the test moves."""

    jumped_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.jumped_ms


async def test_the_next_attempt_is_told_by_the_wall(tmp_path: Path) -> None:
    """Lists, details, events and streams name the moment at which the wall will show it."""
    clock = JumpingClock()
    async with (
        Receiver(respond=Reply(503)) as receiver,
        running(local_config(tmp_path), clock=clock) as relay,
        aiohttp.ClientSession() as session,
    ):
        api = Api(relay, session)
        webhook = await api.webhook(receiver)
        clock.jumped_ms = -HOUR_MS
        async with following(api) as stream:
            event_id = await api.event()
            streamed = (await stream.next()).data
        (row,) = (await api.get(f"/v1/webhooks/{webhook['id']}/deliveries")).json["data"]
        detail = (await api.get(f"/v1/deliveries/{row['id']}")).json
        event = (await api.get(f"/v1/events/{event_id}")).json
        told: list[dict[str, Any]] = [row, detail, event["deliveries"][0], streamed]
        for each in told:
            next_s = datetime.fromisoformat(each["nextAttemptAt"]).timestamp()
            assert 290 < next_s - clock.wall_ms() / 1000 < 302
        again = (await api.get(f"/v1/deliveries/{row['id']}")).json
        assert again["nextAttemptAt"] == detail["nextAttemptAt"]
