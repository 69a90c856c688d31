"""The transport's door: one attempt, from a webhook and an event to its result."""

import asyncio
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import structlog

from prynt_relay.clock import Clock
from prynt_relay.config.settings import Egress
from prynt_relay.model.delivery import AttemptResult
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import Format, Outcome
from prynt_relay.model.webhook import Webhook
from prynt_relay.transport import describe, formats, outcomes, signatures
from prynt_relay.transport.addresses import AddressPolicy
from prynt_relay.transport.connector import Pool, tls_context
from prynt_relay.transport.endpoint import Endpoint, Endpoints, timestamp_headers
from prynt_relay.transport.exchange import Exchange
from prynt_relay.transport.large import LARGE, LargeBodies
from prynt_relay.transport.resolver import Lookup, Resolver

SUCCESS_BODY_KEPT: Final = 1024
BODY_KEPT: Final = 16_384
"""Bytes of a response body kept for the log (contract, section 4)."""

SUCCESS_BODY_GRACE_S: Final = 0.5
"""How long the body of a 2xx may take after its headers: a round trip to the other side of the
world, and no longer, since it holds a slot for nothing."""

BODY_GRACE_S: Final = 2.0
"""The same for any other status, whose body tells people what is wrong."""

_log = structlog.get_logger(__name__)


class Sender:
    """Makes attempts. Create it in the running event loop; `close` it, or use `async with`.

    It bounds each attempt in time and memory, but not how many there are: dispatch does.
    """

    def __init__(
        self,
        egress: Egress,
        *,
        timeout_s: float,
        clock: Clock,
        lookup: Lookup | None = None,
    ) -> None:
        """Send as `egress` allows, within `timeout_s` where a webhook has no timeout of its own.

        `lookup` replaces the system's name resolution. Raises `InvalidFieldError` for an
        `egress.ca_file` or `egress.allow_addresses` that can't be used.
        """
        policy = AddressPolicy(egress.allow_addresses)
        context = tls_context(egress.ca_file)
        self._timeout_s = timeout_s
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._resolver = Resolver(policy, lookup)
        self._pool = Pool(policy, self._resolver, context)
        self._endpoints = Endpoints(allow_http=egress.allow_http)
        self._large = LargeBodies()

    async def __aenter__(self) -> Self:
        """Return the sender itself."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """Drop all connections and lookups; attempts under way fail."""
        await self._pool.close()
        await self._resolver.close()

    def set_timeout(self, timeout_s: float) -> None:
        """Use another time-out for webhooks without one of their own, from the next attempt on."""
        self._timeout_s = timeout_s

    @staticmethod
    def template(webhook: Webhook) -> str:
        """Return the picture of this webhook's requests that the log keeps."""
        return describe.template(webhook)

    @staticmethod
    def fold(events: Sequence[StoredEvent]) -> bytes:
        """Return the body that stands for several events at once, in their order."""
        return formats.summary(events)

    async def send(
        self,
        webhook: Webhook,
        event: StoredEvent,
        format: Format,
        *,
        body: bytes | None = None,
    ) -> AttemptResult:
        """Make one attempt; raises only when it is cancelled.

        `body` goes out instead of what `format` makes of the event; the headers name the event.
        The deadline covers resolving, connecting, TLS and sending, up to the response's headers.
        """
        if len(event.data) >= LARGE:
            await self._large.turn(len(event.data))
        timeout_s = webhook.timeout_s or self._timeout_s
        attempt = _Attempt(self._clock, self._loop.time() + timeout_s)
        exchange: Exchange | None = None
        try:
            endpoint = self._endpoints.get(webhook)
            attempt.host = endpoint.host
            request = self._request(endpoint, webhook, event, format, attempt, body)
            exchange = Exchange(self._pool, endpoint.connect_request)
            try:
                await exchange.respond(request, attempt.deadline)
                return await self._answered(attempt, exchange)
            finally:
                exchange.end()
        except TimeoutError:
            connected = exchange is not None and exchange.connected
            resolved = not self._resolver.is_pending(attempt.host)
            verdict = outcomes.timeout(
                timeout_s, attempt.host, resolved=resolved, connected=connected
            )
            return self._failed(attempt, verdict)
        except Exception as error:  # noqa: BLE001 - an attempt's failure must not end the dispatcher
            if outcomes.is_unexpected(error):
                # Only where and of what type: the message could hold a URL or a payload.
                trace = "".join(traceback.format_tb(error.__traceback__))
                name = type(error).__name__
                _log.error("an attempt broke", action="attempt_broke", error=name, exception=trace)
            return self._failed(attempt, outcomes.failure(error, attempt.host))

    @staticmethod
    def _request(
        endpoint: Endpoint,
        webhook: Webhook,
        event: StoredEvent,
        format: Format,
        attempt: "_Attempt",
        body: bytes | None,
    ) -> tuple[bytes, ...]:
        """The request, in the parts in which it is written: a large body stays apart."""
        if body is None:
            body = formats.render(format, event, webhook.id)
        schemes, wall_ms = webhook.signatures, attempt.started_at_ms
        signed, attempt.signature = signatures.sign(
            schemes, webhook.secrets, wall_ms=wall_ms, event_id=event.event_id, body=body
        )
        signed = timestamp_headers(schemes, wall_ms) + signed
        head = endpoint.head(format, event, signed, len(body))
        return (head + body,) if len(body) < LARGE else (head, body)

    async def _answered(self, attempt: "_Attempt", exchange: Exchange) -> AttemptResult:
        duration_s = attempt.lasted_s()
        now = self._loop.time()
        status = exchange.message.code
        success = 200 <= status < 300
        keep = SUCCESS_BODY_KEPT if success else BODY_KEPT
        at_hand = exchange.body_at_hand(keep)
        if at_hand is None:
            grace_s = SUCCESS_BODY_GRACE_S if success else BODY_GRACE_S
            at_hand = await exchange.read_body(
                keep,
                until=min(now + grace_s, attempt.deadline),
                # A receiver may answer before it has read all: what it accepted it shall get.
                send_until=attempt.deadline if success else now,
            )
        body, body_cut, ended = at_hand
        headers, headers_cut = exchange.headers()
        return AttemptResult(
            Outcome.SUCCESS if success else Outcome.HTTP_ERROR,
            attempt.started_at_ms,
            round(duration_s * 1000),
            attempt.lasted_s(),
            attempt.signature,
            status,
            None if success else outcomes.status_text(status, attempt.host),
            headers,
            body,
            body_cut or headers_cut,
            cut_off=not ended,
        )

    def _failed(self, attempt: "_Attempt", verdict: outcomes.Verdict) -> AttemptResult:
        outcome, text = verdict
        slot_s = attempt.lasted_s()
        return AttemptResult(
            outcome,
            attempt.started_at_ms,
            round(slot_s * 1000),
            slot_s,
            attempt.signature,
            error=text,
        )


class _Attempt:
    """What is known of an attempt under way; `deadline` is in the loop's time."""

    __slots__ = ("_monotonic", "_started", "deadline", "host", "signature", "started_at_ms")

    def __init__(self, clock: Clock, deadline: float) -> None:
        self.started_at_ms = clock.wall_ms()
        self.deadline = deadline
        self.host = "the receiver"
        self.signature = b""
        self._monotonic = clock.monotonic
        self._started = clock.monotonic()

    def lasted_s(self) -> float:
        """Seconds since the attempt began."""
        return self._monotonic() - self._started
