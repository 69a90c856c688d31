"""What the webhooks room has to tell people, as mails of the configured sender."""

from collections.abc import Callable

from prynt_relay.clock import Clock
from prynt_relay.model.delivery import AttemptResult
from prynt_relay.model.mail import OutboxMail
from prynt_relay.model.webhook import Health, Webhook
from prynt_relay.notify import messages
from prynt_relay.schedule.disable import DisablePolicy


class HealthMails:
    """Composes the warning and the disabling (contract, section 4)."""

    def __init__(
        self,
        *,
        sender: Callable[[], str],
        policy: Callable[[], DisablePolicy],
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        """`sender` and `policy` give what is configured now; `wake` starts the sending."""
        self._sender = sender
        self._policy = policy
        self._clock = clock
        self._wake = wake

    def warning(self, webhook: Webhook, health: Health, last: AttemptResult) -> OutboxMail:
        """Say that a webhook keeps failing, and when it will be disabled."""
        disable_at_ms = self._policy().disable_at_wall_ms(
            health, wall_ms=self._clock.wall_ms(), schedule_ms=self._clock.schedule_ms()
        )
        return messages.warning_mail(
            webhook, health, last, disable_at_ms=disable_at_ms, sender=self._sender()
        )

    def disabled(self, webhook: Webhook, health: Health, last: AttemptResult) -> OutboxMail:
        """Say that a webhook was disabled."""
        return messages.disabled_mail(
            webhook, health, last, disabled_at_ms=self._clock.wall_ms(), sender=self._sender()
        )

    def written(self) -> None:
        """A mail is in the outbox."""
        self._wake()
