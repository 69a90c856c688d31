"""No secret leaves the daemon but where it is handed out: after exercising everything, look."""

import asyncio
import base64
import json
import re
from pathlib import Path
from typing import Any

from tests.integration.receivers import Receiver, Reply
from tests.system.daemons import HOST, Daemon, free_port, until

PASSWORD = "correct-horse-battery"
HEADER_VALUE = "header-value-nobody-may-see"
URL_SECRET = "T0SECRETPATH"
KEY = base64.b64encode(bytes(range(32))).decode()
EVENT = {"eventType": "verdict.block", "data": {"n": 1}}


async def exercise(daemon: Daemon, good: Receiver, bad: Receiver) -> tuple[list[str], list[Any]]:
    """Use every part of the API; returns the secrets handed out and every other answer."""
    secrets: list[str] = []
    answers: list[Any] = []
    ids = []
    for receiver in (good, bad):
        made = await daemon.webhook(
            receiver.url_for(f"/{URL_SECRET}"),
            auth={"type": "basic", "username": "user", "password": PASSWORD},
            headers={"X-Api-Key": HEADER_VALUE},
            signatures=["prynt", "standard", "fingerprint"],
        )
        secrets.append(made.pop("signingSecret"))
        ids.append(made["id"])
        answers.append(made)
        for pending in ("1h", "0s", "1h"):
            rotated = await daemon.api(
                "POST", f"/v1/webhooks/{made['id']}/rotate-secret", {"activateIn": pending}
            )
            secrets.append(rotated.pop("signingSecret"))
            answers.append(rotated)
    await daemon.publish(*[EVENT] * 3)
    await good.wait_for(3)
    await bad.wait_for(3)
    for webhook in ids:
        for path, body in (("test", {}), ("retry", {"since": "1h"})):
            answers.append(await daemon.api("POST", f"/v1/webhooks/{webhook}/{path}", body))
        answers.append(await daemon.api("PATCH", f"/v1/webhooks/{webhook}", {"description": "x"}))
        answers.append(await daemon.api("GET", f"/v1/webhooks/{webhook}"))
        answers.append(await daemon.api("GET", f"/v1/webhooks/{webhook}/deliveries"))
    listed = await daemon.api("GET", "/v1/deliveries")
    answers.append(listed)
    paths = [f"/v1/deliveries/{row['id']}" for row in listed["data"]]
    paths += ["/v1/webhooks", "/v1/events", "/v1/stats", "/v1/event-types", "/openapi.json"]
    answers += [await daemon.api("GET", path) for path in (*paths, "/readyz", "/healthz")]
    wrong = {"url": "http://[", "events": ["nope"], "headers": {"X\n": HEADER_VALUE},
             "auth": {"type": "basic", "username": "a:b", "password": PASSWORD}}  # fmt: skip
    bodies = (wrong, {**wrong, "url": good.url}, {"password": PASSWORD}, [HEADER_VALUE])
    answers += [await daemon.request("POST", "/v1/webhooks", body) for body in bodies]
    answers.append(await daemon.request("GET", "/v1/webhooks", key="sk_live_wrongwrongwrong"))
    await daemon.api("PATCH", f"/v1/webhooks/{ids[1]}", {"enabled": False})
    await daemon.api("DELETE", f"/v1/webhooks/{ids[1]}")
    return secrets, answers


async def test_no_secret_is_anywhere_but_where_it_is_handed_out(tmp_path: Path) -> None:
    """Not in any other answer, in the log at debug, in metrics, in the process's title or files."""
    async with (
        Receiver(host=HOST) as good,
        Receiver(host=HOST, respond=Reply(status=500, body=b"no")) as bad,
        Daemon(
            tmp_path,
            env={"PRYNT_RELAY_ENCRYPTION_KEYS": json.dumps([KEY])},
            log={"level": "debug", "format": "json"},
            email={"host": "127.0.0.1", "port": free_port(), "tls": "none",
                   "username": "mailer", "password": PASSWORD, "recipients": ["a@example.com"]},
        ) as daemon,
    ):  # fmt: skip
        secrets, answers = await exercise(daemon, good, bad)
        api_key = daemon.key
        assert len(set(secrets)) == 8
        process = Path(f"/proc/{daemon.pid}/cmdline").read_bytes().decode()
        scrape = await asyncio.to_thread(daemon.scrape)

        async def settled() -> bool:
            listed = await daemon.api("GET", "/v1/deliveries?state=scheduled")
            return not listed["data"]

        await until(settled, "everything is settled")
        database = b"".join(file.read_bytes() for file in daemon.state_dir.glob("relay.db*"))
        await daemon.stop()
        log = daemon.log()
        shown = json.dumps(answers)
        # The keys' own texts, and what could be made of them by cutting off the prefix.
        bare = [secret.removeprefix("whsec_") for secret in secrets]
        basic = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
        for secret in (*secrets, *bare, api_key, PASSWORD, HEADER_VALUE, basic, KEY):
            for place, text in (("API", shown), ("log", log), ("metrics", scrape),
                                ("process title", process)):  # fmt: skip
                assert secret not in text, f"{secret[:12]}… in the {place}"
            assert secret.encode() not in database, f"{secret[:12]}… in the database"
        for place, text in (("log", log), ("metrics", scrape)):
            assert URL_SECRET not in text, f"a URL's path in the {place}"
        assert "X-Api-Key" in shown
        assert good.requests[0].header("X-Api-Key") == HEADER_VALUE
        assert good.requests[0].header("Authorization") == f"Basic {basic}"
        # What the search would find: an attempt's line, and the signature in the delivery log.
        assert '"action":"attempt"' in log
        assert re.search(r'"X-Prynt-Signature": "sha256=[0-9a-f]{64}"', shown)


async def test_without_an_encryption_key_a_warning_says_so(tmp_path: Path) -> None:
    """The operator learns at every start that secrets are stored in clear."""
    async with Daemon(tmp_path) as daemon:
        assert [line for line in daemon.log_lines() if line["action"] == "secrets_in_clear"]


async def test_a_missing_encryption_key_is_a_clear_error(tmp_path: Path) -> None:
    """A start without the key that encrypted the secrets fails, says so, and changes nothing."""
    daemon = Daemon(tmp_path, env={"PRYNT_RELAY_ENCRYPTION_KEYS": json.dumps([KEY])})
    await daemon.start()
    await daemon.webhook(f"https://{HOST}:1/")
    await daemon.stop()
    with_key, daemon.env = daemon.env, {}
    await daemon.start(wait=False)
    assert await daemon.wait() == 1
    assert "encryption_keys" in daemon.log_lines()[-1]["message"]
    daemon.env = with_key
    await daemon.start()
    assert len((await daemon.api("GET", "/v1/webhooks"))["data"]) == 1
    await daemon.stop()
