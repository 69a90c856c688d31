"""The HTTP API, put together from the rooms that it shows."""

from typing import TYPE_CHECKING

from prynt_relay.api.app import make_app
from prynt_relay.api.deps import Deps
from prynt_relay.api.hub import Hub
from prynt_relay.api.keys import KeyCheck, ensure_key
from prynt_relay.api.server import ApiServer
from prynt_relay.api.upkeep import Upkeep
from prynt_relay.daemon.supervisor import Supervisor
from prynt_relay.dashboard.mount import Dashboard
from prynt_relay.dashboard.site import Settings
from prynt_relay.model.catalogue import catalogue
from prynt_relay.transport import formats
from prynt_relay.transport.describe import describe
from prynt_relay.webhooks.endpoint import EndpointRules
from prynt_relay.webhooks.operator import Operator

if TYPE_CHECKING:
    from prynt_relay.daemon.relay import Relay


class ApiPart:
    """The API's server and the tasks behind it."""

    def __init__(self, relay: "Relay") -> None:
        config = relay.config
        ensure_key(config.state_dir, relay.random_bytes)
        self._hub = Hub(relay.store, relay.clock)
        self._upkeep = Upkeep(relay.store, relay.clock)
        relay.dispatcher.observe(self._hub.publish)
        key_check = KeyCheck(config.state_dir)
        self._dashboard = Dashboard(
            _settings(relay),
            keys=key_check,
            clock=relay.clock,
            random_bytes=relay.random_bytes,
            refused=lambda: relay.metrics.snapshot({}).events_rejected,
        )
        app = make_app(
            Deps(
                clock=relay.clock,
                storage=relay.store,
                registry=relay.registry,
                changes=Operator(
                    changes=relay.changes,
                    resending=relay.resending,
                    sampling=relay.sampling,
                    store=relay.store,
                ),
                intake=relay.acceptor,
                describe=describe,
                render=formats.render,
                secret_box=relay.secret_box,
                key_check=key_check,
                hub=self._hub,
                upkeep=self._upkeep,
                event_types=catalogue(config.extra_event_types),
                published_ips=lambda: relay.config.egress.published_ips,
                readiness=relay.unready,
                random_bytes=relay.random_bytes,
                filter_failures=relay.filters.failures,
                allow_http=config.egress.allow_http,
                allow_addresses=config.egress.allow_addresses,
                has_session=self._dashboard.has_session,
                session_cookie=self._dashboard.session_cookie,
            ),
            mount=self._dashboard.mount,
        )
        self._server = ApiServer(app, config.api.listen.host, config.api.listen.port)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, with the real port."""
        return self._server.address

    def supervise(self, supervisor: Supervisor) -> None:
        """Hand the tasks to the supervisor."""
        supervisor.start("api upkeep", self._upkeep.run())
        supervisor.start("api hub", self._hub.run())
        supervisor.start("dashboard", self._dashboard.run())

    async def start(self) -> None:
        """Listen; raises a RelayError where that can't be."""
        await self._server.start()

    async def stop(self) -> None:
        """End streams, let requests under way finish, close."""
        await self._hub.close()
        await self._server.stop()


def _settings(relay: "Relay") -> Settings:
    """Return what pages say of the configuration; a reload may change what is asked anew."""
    egress = relay.config.egress
    return Settings(
        check_url=EndpointRules(
            allow_http=egress.allow_http, allow_addresses=egress.allow_addresses
        ).check_url,
        timeout_s=lambda: relay.config.delivery.timeout_s,
        retry_schedule_s=lambda: relay.config.delivery.retry_schedule_s,
        disable_after_s=lambda: relay.config.delivery.disable_after_s,
        history_s=lambda: relay.config.retention.history_s,
        allow_http=egress.allow_http,
    )
