import os
from pathlib import Path
from typing import Any

import pytest

from prynt_relay.api.idempotency import _bound_to
from prynt_relay.errors import NotFoundError, StorageError
from prynt_relay.model.mail import OutboxMail
from prynt_relay.model.states import DisabledReason, Format, SignatureScheme
from prynt_relay.model.webhook import BasicAuth, Health, Secrets, Webhook
from prynt_relay.store import SecretBox, Store
from prynt_relay.store.api_requests import StoredAnswer, find_answer, keep_answer
from tests.clock import FakeClock
from tests.integration.store.parts import (
    Heard,
    add_webhook,
    append,
    new_webhook,
    open_store,
    opened,
    rows,
)

KEY_A = b"a" * 32
KEY_B = b"b" * 32
SECRETS = {
    "secrets": Secrets("whsec_current-secret", "whsec_pending-secret", 77),
    "auth": BasicAuth("user-name-1", "pass-word-1"),
    "headers": (("X-Token", "header-value-1"), ("X-Other", "ä")),
}
EVERYTHING: dict[str, Any] = {
    "url": "https://a.example/hook",
    "events": ("verdict.block", "rule.matched"),
    "description": "für alle",
    "enabled": False,
    "disabled_reason": DisabledReason.FAILING,
    "disabled_at_ms": 5,
    "format": Format.SLACK,
    "signatures": (SignatureScheme.PRYNT, SignatureScheme.STANDARD),
    "timeout_s": 2.5,
    "retry_schedule_s": (1.0, 60.0),
    "filter": "data.a > `1`",
} | SECRETS


def box(*keys: bytes) -> SecretBox:
    return SecretBox(keys, os.urandom)


async def only(store: Store) -> Webhook:
    (webhook,) = await store.webhooks()
    return webhook


@pytest.mark.parametrize("keys", [(), (KEY_A,)])
async def test_every_field_survives_a_restart(tmp_path: Path, keys: tuple[bytes, ...]) -> None:
    """A webhook reads back exactly as it was added, encrypted or not."""
    clock = FakeClock()
    async with opened(tmp_path, clock, secret_box=box(*keys)) as store:
        plain = await store.add_webhook(new_webhook())
        full = await store.add_webhook(new_webhook(**EVERYTHING))
        assert await store.webhooks() == [plain, full]
    async with opened(tmp_path, secret_box=box(*keys)) as store:
        assert await store.webhooks() == [plain, full]
    assert (full.created_at_ms, full.updated_at_ms) == (clock.wall_ms(), clock.wall_ms())
    assert {name: getattr(full, name) for name in EVERYTHING} == EVERYTHING
    assert plain.id != full.id


async def test_a_change_replaces_what_it_names(tmp_path: Path) -> None:
    """An update changes the named fields and the time of change, and nothing else."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        before = await store.add_webhook(new_webhook(**EVERYTHING))
        await clock.advance(9)
        after = await store.update_webhook(
            before.row, url="https://b.example/", auth=None, health=Health(1, 2, 3, 4, warned=True)
        )
        assert await only(store) == after
    assert after.url == "https://b.example/"
    assert after.auth is None
    assert after.health.warned
    assert after.updated_at_ms == clock.wall_ms()
    assert after.secrets == before.secrets
    assert after.created_at_ms == before.created_at_ms


async def test_a_mail_is_written_with_the_change(tmp_path: Path) -> None:
    """A change and the mail that tells of it are one transaction; the same mail goes once."""
    heard = Heard()
    mail = OutboxMail("<disabled-1@relay>", "subject", "body")
    async with opened(tmp_path, observer=heard) as store:
        webhook = await store.add_webhook(new_webhook())
        heard.commits.clear()
        await store.update_webhook(webhook.row, enabled=False, outbox=[mail])
        assert len(heard.commits) == 1
        await store.add_mails([mail])
        assert [due.mail for due in await store.due_mails()] == [mail]


async def test_deleting_leaves_no_secret_and_no_webhook(tmp_path: Path) -> None:
    """A deleted webhook is gone from the list, its secrets from its row; doing it again fails."""
    async with opened(tmp_path) as store:
        webhook = await store.add_webhook(new_webhook(**EVERYTHING))
        await store.delete_webhook(webhook.row)
        assert await store.webhooks() == []
        with pytest.raises(NotFoundError):
            await store.delete_webhook(webhook.row)
        with pytest.raises(NotFoundError):
            await store.update_webhook(webhook.row, enabled=True)
    assert rows(tmp_path, "SELECT secrets, deleted_at_ms IS NOT NULL FROM webhooks") == [(b"", 1)]


async def test_a_deleted_webhook_goes_with_the_last_of_its_history(tmp_path: Path) -> None:
    """Its row stays for the log while deliveries refer to it; its number is never used again."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        webhook, _ = await add_webhook(store)
        await store.append([append(webhook.row)])
        await store.delete_webhook(webhook.row)
        await store.cancel_chunk(webhook.row)
        await store.purge(history_s=60, max_size=10**12)
        assert rows(tmp_path, "SELECT id FROM webhooks") == [(webhook.row,)]
        await clock.advance(61)
        await store.purge(history_s=60, max_size=10**12)
        assert rows(tmp_path, "SELECT id FROM webhooks") == []
        assert rows(tmp_path, "SELECT id FROM webhook_revisions") == []
        again = await store.add_webhook(new_webhook())
    assert again.row > webhook.row


async def test_a_revision_is_kept_once(tmp_path: Path) -> None:
    """The same picture of a webhook's requests is one revision; the webhook names its last."""
    async with opened(tmp_path) as store:
        webhook = await store.add_webhook(new_webhook())
        other = await store.add_webhook(new_webhook())
        first = await store.set_revision(webhook.row, "a")
        assert await store.set_revision(webhook.row, "b") != first
        assert await store.set_revision(other.row, "a") != first
        assert await store.set_revision(webhook.row, "a") == first
        assert next(w.revision_row for w in await store.webhooks()) == first


async def test_an_id_that_was_there_before_is_not_given_again(tmp_path: Path) -> None:
    """When chance repeats itself the store asks it again."""
    drawn = iter([b"\1" * 16, b"\1" * 16, b"\2" * 16])

    def random_bytes(count: int) -> bytes:
        return os.urandom(count) if rest_is_random else next(drawn)

    rest_is_random = True
    store = await open_store(tmp_path, random_bytes=random_bytes)
    try:
        rest_is_random = False
        one = await store.add_webhook(new_webhook())
        two = await store.add_webhook(new_webhook())
    finally:
        await store.close()
    assert one.id != two.id
    assert next(drawn, None) is None


class TestSecretsAtRest:
    async def test_no_secret_is_in_any_file(self, tmp_path: Path) -> None:
        """With a key set neither the database nor its log shows a secret."""
        store = await open_store(tmp_path, secret_box=box(KEY_A))
        try:
            webhook = await store.add_webhook(new_webhook(**EVERYTHING))
            await store.update_webhook(webhook.row, description="changed")
            assert_nowhere(tmp_path)
        finally:
            await store.close()
        assert_nowhere(tmp_path)

    async def test_without_a_key_they_are_readable(self, tmp_path: Path) -> None:
        """The search for secrets does find them where nothing is encrypted."""
        async with opened(tmp_path) as store:
            await store.add_webhook(new_webhook(**EVERYTHING))
        with pytest.raises(AssertionError):
            assert_nowhere(tmp_path)

    async def test_a_first_key_encrypts_what_was_in_clear_and_leaves_no_trace(
        self, tmp_path: Path
    ) -> None:
        """After a start with a key nothing of the secrets from before is left in the files."""
        async with opened(tmp_path) as store:
            for _ in range(30):
                before = await store.add_webhook(new_webhook(**EVERYTHING))
        async with opened(tmp_path, secret_box=box(KEY_A)) as store:
            assert (await store.webhooks())[-1] == before
            assert_nowhere(tmp_path)
        assert_nowhere(tmp_path)

    async def test_a_new_first_key_takes_over(self, tmp_path: Path) -> None:
        """With a new key in front everything is under it, and the old one can be dropped."""
        async with opened(tmp_path, secret_box=box(KEY_A)) as store:
            webhook = await store.add_webhook(new_webhook(**EVERYTHING))
        async with opened(tmp_path, secret_box=box(KEY_B, KEY_A)) as store:
            assert await only(store) == webhook
        async with opened(tmp_path, secret_box=box(KEY_B)) as store:
            assert await only(store) == webhook

    @pytest.mark.parametrize("keys", [(), (KEY_B,)])
    async def test_a_missing_key_is_named_at_the_start(
        self, tmp_path: Path, keys: tuple[bytes, ...]
    ) -> None:
        """Without the key that a secret needs the store doesn't open, and changes nothing."""
        async with opened(tmp_path, secret_box=box(KEY_A)) as store:
            webhook = await store.add_webhook(new_webhook(**EVERYTHING))
        with pytest.raises(StorageError, match="encryption_keys doesn't list"):
            await open_store(tmp_path, secret_box=box(*keys))
        async with opened(tmp_path, secret_box=box(KEY_A)) as store:
            assert await only(store) == webhook

    async def test_kept_answers_change_keys_too(self, tmp_path: Path) -> None:
        """Answers that the API keeps, some with a signing secret, end up under the key in force."""
        answer = StoredAnswer(b"hash", 201, {}, b'{"signingSecret":"whsec_current"}', None, 5)
        async with opened(tmp_path, secret_box=box()) as store:
            await store.write(lambda c: keep_answer(c, "key 1", answer))
        async with opened(tmp_path, secret_box=box(KEY_A)):
            assert_nowhere(tmp_path)
        async with opened(tmp_path, secret_box=box(KEY_B, KEY_A)) as store:
            await store.write(
                lambda c: (
                    c.execute(
                        """INSERT INTO api_requests SELECT 'lost', request_hash, status, headers,
                           x'00', 'gone', created_at_ms FROM api_requests"""
                    ).rowcount
                )
            )
        async with opened(tmp_path, secret_box=box(KEY_B)) as store:
            kept = await store.read(lambda c: find_answer(c, "key 1", 0))
            lost = await store.read(lambda c: find_answer(c, "lost", 0))
        assert kept is not None
        assert kept.response_key == box(KEY_B).current
        assert box(KEY_B).open(kept.response, kept.response_key, _bound_to("key 1")) == (
            answer.response
        )
        assert lost is None

    async def test_a_secret_copied_to_another_row_is_refused(self, tmp_path: Path) -> None:
        """What was encrypted for one webhook can't be passed off as another's."""
        async with opened(tmp_path, secret_box=box(KEY_A)) as store:
            await store.add_webhook(new_webhook())
            await store.add_webhook(new_webhook(**EVERYTHING))
            await store.write(
                lambda c: (
                    c.execute(
                        "UPDATE webhooks SET secrets = (SELECT secrets FROM webhooks WHERE id = 2)"
                    ).rowcount
                )
            )
            with pytest.raises(StorageError, match="can't be decrypted"):
                await store.webhooks()


def assert_nowhere(folder: Path) -> None:
    names = [b"whsec_current", b"whsec_pending", b"pass-word-1", b"header-value-1", b"user-name-1"]
    for file in folder.iterdir():
        content = file.read_bytes()
        for name in names:
            assert name not in content, f"{name!r} in {file.name}"


class TestOutbox:
    async def test_a_mail_is_due_until_it_is_sent(self, tmp_path: Path) -> None:
        """A failed mail comes back at its next time, a sent one never."""
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            assert await store.next_mail_ms() is None
            await store.add_mails([OutboxMail("<1@x>", "s", "b"), OutboxMail("<2@x>", "s", "b")])
            one, two = await store.due_mails()
            assert await store.next_mail_ms() == 0
            later_ms = clock.wall_ms() + 60_000
            await store.mail_failed(one.row, "refused", later_ms)
            await store.mail_sent(two.row)
            assert await store.due_mails() == []
            assert await store.next_mail_ms() == later_ms
            await clock.advance(60)
            (again,) = await store.due_mails()
            assert (again.mail.message_id, again.tries) == ("<1@x>", 1)
            await store.mail_failed(again.row, "refused", None)
            assert await store.next_mail_ms() is None

    async def test_old_mails_are_purged_once_they_are_done(self, tmp_path: Path) -> None:
        """Retention takes mails that were sent, and none that are still to go out."""
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            await store.add_mails([OutboxMail("<1@x>", "s", "b"), OutboxMail("<2@x>", "s", "b")])
            await store.mail_sent(1)
            await clock.advance(10)
            await store.purge(history_s=5, max_size=10**12)
            assert [mail.row for mail in await store.due_mails()] == [2]
        assert rows(tmp_path, "SELECT id FROM outbox") == [(2,)]
