"""What docs/operations.md tells operators to do, done on a machine.

The tests share one machine and run in their order.
"""

import json
import time
from collections.abc import Iterator

import pytest

from prynt_relay.ops import files
from prynt_relay.version import __version__
from tests.docs_blocks import docs_story, docs_text
from tests.system.machine import (
    CONFIG_FILE,
    NEXT_VERSION,
    RECEIVED,
    SERVICE,
    STATE,
    Machine,
    installed_machine,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with installed_machine(tmp_path_factory.mktemp("manual")) as machine:
        machine.configure()
        machine.subscribe()
        yield machine


def test_the_mail_test_reports_the_servers_answer(machine: Machine) -> None:
    """The documented mail test runs as the service does and says how it went: nobody listens."""
    good = machine.container.read(CONFIG_FILE)
    mail = (
        '\n[email]\nhost = "127.0.0.1"\nport = 2525\ntls = "none"\nrecipients = ["a@example.com"]\n'
    )
    machine.container.write(CONFIG_FILE, good + mail)
    done = machine.run("sh", "-c", docs_text("operations-test-email"), check=False)
    assert done.returncode == 1
    assert "127.0.0.1" in done.stdout + done.stderr
    machine.container.write(CONFIG_FILE, good)


def test_the_configuration_is_checked_as_the_service_sees_it(machine: Machine) -> None:
    """The documented check reads the credentials too, and shows what is in effect, not secrets."""
    machine.container.write("/etc/credstore/prynt-relay.encryption_keys", "not a key\n", mode=0o600)
    done = machine.run("sh", "-c", docs_text("operations-check-config"), check=False)
    assert done.returncode == 1
    assert "encryption_keys" in done.stdout + done.stderr
    machine.run("rm", "/etc/credstore/prynt-relay.encryption_keys")
    shown = machine.story(docs_story("operations-check-config"))
    assert 'ca_file = "/etc/prynt-relay/receivers-ca.pem"' in shown


def test_a_new_api_key_is_in_force_at_once(machine: Machine) -> None:
    """Rotated by root as documented, the daemon can read the new one and refuses the old."""
    old = machine.container.read(f"{STATE}/api-key").strip()
    pid = machine.main_pid()
    new = machine.story(docs_story("operations-rotate-key")).strip()
    assert new != old
    listed = machine.run("/usr/local/bin/prynt", "webhooks", "list", "--api-key", new)
    assert "wh_" in listed.stdout
    assert machine.prynt("webhooks", "list")["data"]
    refused = ("/usr/local/bin/prynt", "webhooks", "list", "--api-key", old)
    assert machine.run(*refused, check=False).returncode == 1
    assert machine.main_pid() == pid
    owner = machine.run("stat", "-c", "%U %a", f"{STATE}/api-key").stdout.strip()
    assert owner == "prynt-relay 600"
    machine.run("systemctl", "restart", SERVICE)
    assert machine.prynt("webhooks", "list")["data"]


def test_a_drop_in_is_honoured(machine: Machine) -> None:
    """A limit set in a drop-in, as documented, is in force and survives another install."""
    machine.story(docs_story("operations-drop-in"))
    machine.run("/usr/local/bin/prynt-relay", "install")
    assert machine.show("MemoryMax") == str(1024**3)


def test_rules_scrape_job_and_dashboard_come_from_the_installation(machine: Machine) -> None:
    """The documented commands write what the checkout has."""
    machine.story(docs_story("operations-monitoring"))
    for name in ("alerts", "scrape"):
        text = machine.container.read(f"/etc/prometheus/prynt-relay-{name}.yml")
        assert text == files.text(name)
    assert json.loads(machine.container.read("/etc/prometheus/prynt-relay-dashboard.json"))
    metrics = machine.run("curl", "--fail", "--silent", "http://127.0.0.1:9420/metrics").stdout
    assert "process_start_time_seconds" in metrics


def test_the_man_pages_are_found(machine: Machine) -> None:
    """`man prynt-relay` shows the page of the installed version."""
    page = machine.run("env", "MANPAGER=cat", "MANPATH=/usr/local/share/man", "man", "prynt-relay")
    assert "durable webhook sender" in page.stdout


def test_a_backup_under_load_is_restored(machine: Machine) -> None:
    """Restored, it has each event acknowledged before it began, and repeats none delivered then."""
    machine.start_publisher(pause_s=0.002)
    machine.container.wait_for("some load", "sh", "-c", f"test $(wc -l < {RECEIVED}) -gt 500")
    (settled,) = machine.publish({"eventType": "visitor.new", "data": {"when": "before"}})
    machine.wait_settled(settled["eventId"])
    delivered = {request["event"] for request in machine.received()} - {
        # What was received in the last moment may not be settled yet.
        request["event"]
        for request in machine.received()[-200:]
    }
    began = time.time()
    machine.story(docs_story("operations-backup"))
    ended = time.time()
    (after,) = machine.publish({"eventType": "visitor.new", "data": {"when": "after"}})
    machine.wait_settled(after["eventId"])
    published = machine.stop_publisher()
    before = {event_id for event_id, at in published["acknowledged"] if at < began}
    late = {event_id for event_id, at in published["acknowledged"] if at > ended}
    machine.wait_received({event_id for event_id, _ in published["acknowledged"]})
    requests = len(machine.received())

    machine.story(docs_story("operations-restore"))
    machine.wait_active()

    known = machine.event_ids()
    assert len(before) > 300
    assert before | {settled["eventId"]} <= known
    assert late
    assert not known & (late | {after["eventId"]})
    (answer,) = machine.publish({"eventType": "visitor.new", "data": {"when": "restored"}})
    machine.wait_settled(answer["eventId"])
    machine.container.wait_for(
        "an empty schedule",
        *("sh", "-c", "curl -s http://127.0.0.1:9420/metrics | grep -x '.*_scheduled 0.0'"),
    )
    again = {request["event"] for request in machine.received()[requests:]}
    assert answer["eventId"] in again
    assert not again & (delivered | {settled["eventId"]})


def test_an_upgrade_and_a_rollback_lose_nothing(machine: Machine) -> None:
    """The documented upgrade runs the new version, the rollback the old one, with the same data."""
    assert docs_story("operations-upgrade")[0].text.startswith(f"version={NEXT_VERSION}\n")
    assert docs_story("operations-rollback")[0].text.startswith(f"version={__version__}\n")
    ids = set()
    for story, version in (
        (docs_story("operations-upgrade"), NEXT_VERSION),
        (docs_story("operations-rollback"), __version__),
    ):
        machine.story(story)
        pid = machine.wait_active()
        running = machine.run("readlink", "-f", "/opt/prynt-relay/current").stdout.strip()
        assert running == f"/opt/prynt-relay/{version}"
        argv = machine.container.read(f"/proc/{pid}/cmdline")
        assert argv.startswith(f"/opt/prynt-relay/{version}/bin/python")
        (answer,) = machine.publish({"eventType": "visitor.new", "data": {"version": version}})
        ids.add(answer["eventId"])
        machine.wait_received(ids)
    assert ids <= machine.event_ids()


def test_removing_leaves_only_what_is_documented(machine: Machine) -> None:
    """The documented removal leaves state and configuration, and nothing that runs."""
    machine.story(docs_story("operations-remove"))
    assert machine.show("LoadState") == "not-found"
    assert machine.run("ls", f"{STATE}/relay.db").stdout
    assert machine.run("test", "-e", "/opt/prynt-relay", check=False).returncode == 1
    assert machine.run("systemctl", "--failed", "--quiet").stdout == ""
    assert machine.run("find", "/usr/local", "-xtype", "l").stdout == ""
