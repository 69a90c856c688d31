"""From what is stored to what is answered."""

from collections.abc import Iterable

from msgspec import Raw
from msgspec.structs import replace

from prynt_relay.api.doors import Describe, FilterFailures, Render
from prynt_relay.api.outputs import (
    Attempt,
    AttemptRequest,
    AttemptResponse,
    BacklogView,
    BasicAuthView,
    CarryingMessage,
    Delivery,
    DeliveryDetail,
    Durations,
    Event,
    EventDetail,
    Interval,
    StreamedAttempt,
    WebhookView,
)
from prynt_relay.api.outputs import (
    FilterFailures as FilterFailuresView,
)
from prynt_relay.api.schema_types import MASK
from prynt_relay.model import ids
from prynt_relay.model.durations import format_duration
from prynt_relay.model.timestamps import iso_ms
from prynt_relay.model.webhook import Webhook
from prynt_relay.store import history, history_backlog, history_detail, history_stream, rollups

MAX_SHOWN_BYTES = 4 * 1024 * 1024
"""Of one delivery's bodies: attempts beyond, the oldest, are left out of the answer."""

MIN_SHOWN_ATTEMPTS = 5


def moment(unix_ms: int | None) -> str | None:
    """Return a moment as text, None where there is none."""
    return None if unix_ms is None else iso_ms(unix_ms)


def webhook_fields(
    webhook: Webhook, now_ms: int, failures: FilterFailures | None = None
) -> WebhookView:
    """Return a webhook without anything secret; `failures` are its filter's."""
    secrets, auth, schedule = webhook.secrets, webhook.auth, webhook.retry_schedule_s
    pending_ms = None if secrets.active(now_ms)[1] is None else secrets.pending_at_ms
    return WebhookView(
        id=webhook.id,
        url=webhook.url,
        events=list(webhook.events),
        description=webhook.description,
        enabled=webhook.enabled,
        disabled_reason=None if webhook.disabled_reason is None else webhook.disabled_reason.value,
        disabled_at=moment(webhook.disabled_at_ms),
        failing_since=moment(webhook.health.failing_since_ms),
        created_at=iso_ms(webhook.created_at_ms),
        updated_at=iso_ms(webhook.updated_at_ms),
        auth=None if auth is None else BasicAuthView(type="basic", username=auth.username),
        headers={name: MASK for name, _ in webhook.headers},
        format=webhook.format.label,
        signatures=[scheme.label for scheme in webhook.signatures],
        timeout=None if webhook.timeout_s is None else format_duration(webhook.timeout_s),
        retry_schedule=None if schedule is None else [format_duration(each) for each in schedule],
        filter=webhook.filter,
        filter_failures=None
        if failures is None
        else FilterFailuresView(
            count=failures.count,
            last_at=iso_ms(failures.last_at_ms),
            last_error=failures.last_error,
        ),
        secret_rotates_at=moment(pending_ms),
    )


def delivery(row: history.DeliveryRow, offset_ms: int) -> Delivery:
    """Return one line of the delivery log; `offset_ms` is `clock.wall_offset_ms`."""
    return Delivery(
        id=ids.delivery_id(row.row),
        webhook_id=row.webhook_id,
        event_id=row.event_id,
        event_type=row.event_type,
        state=row.state.label,
        created_at=iso_ms(row.created_at_ms),
        next_attempt_at=_next_attempt(row, offset_ms),
        attempt_count=row.attempts,
        last_outcome=None if row.last_outcome is None else row.last_outcome.label,
        last_status=row.last_status,
    )


def delivery_detail(
    found: history_detail.DeliveryDetail, describe: Describe, render: Render, offset_ms: int
) -> DeliveryDetail:
    """Return a delivery with its attempts; bodies together stay within `MAX_SHOWN_BYTES`.

    Builds each request again: milliseconds for large bodies, worth a thread.
    """
    summary = delivery(found.delivery, offset_ms)
    body = render(found.format, found.event, found.delivery.webhook_id)
    shown = max(MIN_SHOWN_ATTEMPTS, MAX_SHOWN_BYTES // (len(body) + 1))
    attempts = [attempt(found, each, describe, body) for each in found.attempts[-shown:]]
    fields = {name: getattr(summary, name) for name in summary.__struct_fields__}
    return DeliveryDetail(**fields, attempts=attempts)


def attempt(
    found: history_detail.DeliveryDetail,
    row: history_detail.AttemptRow,
    describe: Describe,
    body: bytes,
) -> Attempt:
    """Return one attempt with its request and response; `body` is the event's own."""
    event, message = found.event, row.message
    if message is not None:
        body = message.body
        event = replace(event, event_id=message.event_id, event_type=message.event_type)
    picture = describe(
        row.template, event, row.started_at_ms, row.signature, body, format=found.format
    )
    response = None
    if row.status is not None:
        response = AttemptResponse(
            status=row.status,
            headers=_header_map(row.response_headers or b""),
            body=(row.response_body or b"").decode(errors="replace"),
            truncated=row.truncated,
        )
    return Attempt(
        number=row.number,
        trigger=row.trigger.label,
        started_at=iso_ms(row.started_at_ms),
        duration_ms=row.duration_ms,
        outcome=row.outcome.label,
        error=row.error,
        request=AttemptRequest(
            url=picture.url, headers=dict(picture.headers), body=body.decode(errors="replace")
        ),
        response=response,
        message=None
        if message is None
        else CarryingMessage(
            delivery_id=ids.delivery_id(message.first_delivery_row), count=message.count
        ),
    )


def _header_map(lines: bytes) -> dict[str, str]:
    """Return header lines by name; a repeated one's values are joined (RFC 9110, section 5.3)."""
    found: dict[str, str] = {}
    spelling: dict[str, str] = {}
    for line in lines.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            name = spelling.setdefault(name.lower(), name)
            value = value.strip()
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def event(row: history.EventRow) -> Event:
    """Return one line of the event log."""
    return Event(
        event_id=row.event_id,
        event_type=row.event_type,
        created_at=iso_ms(row.created_at_ms),
        received_at=iso_ms(row.received_at_ms),
        idempotency_key=row.idempotency_key,
    )


def event_detail(found: history_detail.EventDetail, offset_ms: int) -> EventDetail:
    """Return an event with its data and deliveries."""
    stored = found.event
    return EventDetail(
        event_id=stored.event_id,
        event_type=stored.event_type,
        created_at=iso_ms(stored.created_at_ms),
        received_at=iso_ms(stored.received_at_ms),
        idempotency_key=stored.idempotency_key,
        data=Raw(stored.data),
        deliveries=[delivery(row, offset_ms) for row in found.deliveries],
        delivery_count=found.delivery_count,
    )


def intervals(rows: Iterable[rollups.Interval]) -> list[Interval]:
    """Return minutes or hours of the statistics."""
    return [
        Interval(
            start=iso_ms(row.start_ms),
            events=row.events,
            attempts={outcome.label: count for outcome, count in row.attempts.items()},
            duration_ms=None
            if row.p50_ms is None or row.p99_ms is None
            else Durations(p50=row.p50_ms, p99=row.p99_ms),
        )
        for row in rows
    ]


def backlog(found: history_backlog.Backlog, schedule_ms: int) -> BacklogView:
    """Return what waits, as seen at `schedule_ms`."""
    due_ms = found.oldest_due_ms
    waited_ms = 0 if due_ms is None else max(0, schedule_ms - due_ms)
    return BacklogView(
        scheduled=found.scheduled, held=found.held, oldest_due_seconds=waited_ms / 1000
    )


def streamed(row: history_stream.StreamedAttempt, offset_ms: int) -> StreamedAttempt:
    """Return an attempt as streams tell of it."""
    return StreamedAttempt(
        webhook_id=row.webhook_id,
        delivery_id=ids.delivery_id(row.delivery_row),
        event_id=row.event_id,
        event_type=row.event_type,
        number=row.number,
        trigger=row.trigger.label,
        started_at=iso_ms(row.started_at_ms),
        duration_ms=row.duration_ms,
        outcome=row.outcome.label,
        status=row.status,
        error=row.error,
        state=row.state.label,
        next_attempt_at=_on_wall(row.next_attempt_ms, offset_ms),
    )


def _next_attempt(row: history.DeliveryRow, offset_ms: int) -> str | None:
    due_ms = row.next_attempt_ms
    if due_ms is not None:
        # The clocks' distance is told in whole seconds: within one, nothing is due before it is.
        early_ms = row.created_at_ms - (due_ms + offset_ms)
        due_ms += early_ms if 0 < early_ms < 1000 else 0
    return _on_wall(due_ms, offset_ms)


def _on_wall(schedule_ms: int | None, offset_ms: int) -> str | None:
    """Return a time of the schedule's clock as people will read it off theirs."""
    return None if schedule_ms is None else iso_ms(schedule_ms + offset_ms)
