"""What needs somebody's attention, worst first."""

from typing import Final, Literal

import msgspec

from prynt_relay.api.deps import Deps
from prynt_relay.api.outputs import BacklogView
from prynt_relay.dashboard.site import Site
from prynt_relay.model.states import DisabledReason
from prynt_relay.model.webhook import Webhook
from prynt_relay.schedule.disable import DisablePolicy

LATE_S: Final = 60.0
"""A delivery that is due for so long says that the relay is behind."""

SHOWN: Final = 8


class Trouble(msgspec.Struct, frozen=True):
    """A webhook that fails, or was disabled for it."""

    webhook: Webhook
    disables_at_ms: int | None


class BrokenFilter(msgspec.Struct, frozen=True):
    """A webhook whose filter fails on events, which it therefore doesn't get."""

    webhook: Webhook
    count: int
    last_error: str


class Attention(msgspec.Struct, frozen=True):
    """Everything there is."""

    not_ready: list[str]
    late_s: float | None
    disabled: list[Trouble]
    failing: list[Trouble]
    filters: list[BrokenFilter]
    refused: dict[str, int]
    more: int
    """Webhooks that aren't listed."""

    @property
    def count(self) -> int:
        """How many things that is; 0 when all is well."""
        return (
            len(self.not_ready)
            + (self.late_s is not None)
            + len(self.disabled)
            + len(self.failing)
            + len(self.filters)
            + bool(self.refused)
            + self.more
        )


Health = Literal["healthy", "failing", "disabled_failing", "disabled"]


def health_of(webhook: Webhook) -> Health:
    """Return how a webhook is, in one word."""
    if not webhook.enabled:
        failing = webhook.disabled_reason is DisabledReason.FAILING
        return "disabled_failing" if failing else "disabled"
    return "healthy" if webhook.health.failing_since_ms is None else "failing"


def disables_at_ms(deps: Deps, site: Site, webhook: Webhook) -> int | None:
    """Return from when on (wall) a failure disables a failing webhook, else None."""
    if not webhook.enabled or webhook.health.failing_from_ms is None:
        return None
    return DisablePolicy(site.settings.disable_after_s()).disable_at_wall_ms(
        webhook.health, wall_ms=deps.clock.wall_ms(), schedule_ms=deps.clock.schedule_ms()
    )


def look_around(deps: Deps, site: Site, backlog: BacklogView) -> Attention:
    """Return what needs attention now."""
    disabled, failing, filters = [], [], []
    for webhook in deps.registry:
        health = health_of(webhook)
        if health == "disabled_failing":
            disabled.append(Trouble(webhook, None))
        elif health == "failing":
            failing.append(Trouble(webhook, disables_at_ms(deps, site, webhook)))
        failures = None if webhook.filter is None else deps.filter_failures(webhook.row)
        if failures is not None:
            filters.append(BrokenFilter(webhook, failures.count, failures.last_error))
    disabled.sort(key=lambda each: -(each.webhook.disabled_at_ms or 0))
    failing.sort(key=lambda each: each.disables_at_ms or 0)
    late_s = backlog.oldest_due_seconds
    return Attention(
        not_ready=list(deps.readiness()),
        late_s=late_s if late_s > LATE_S else None,
        disabled=disabled[:SHOWN],
        failing=failing[:SHOWN],
        filters=filters[:SHOWN],
        refused=site.refusals.last_hour(),
        more=sum(max(len(each) - SHOWN, 0) for each in (disabled, failing, filters)),
    )
