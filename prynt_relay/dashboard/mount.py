"""The dashboard's paths."""

from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from prynt_relay.clock import Clock
from prynt_relay.dashboard import (
    delivery_pages,
    entry_pages,
    event_pages,
    guard,
    webhook_actions,
    webhook_forms,
    webhook_pages,
)
from prynt_relay.dashboard.refusals import SAMPLE_S, Refusals
from prynt_relay.dashboard.sessions import Keys, Sessions, SignInLimit
from prynt_relay.dashboard.site import SITE, Settings, Site

_PAGES: Final = (
    ("/", entry_pages.overview),
    ("/find", entry_pages.find),
    ("/live", entry_pages.live),
    ("/webhooks", webhook_pages.webhook_list),
    ("/webhooks/new", webhook_forms.new_form),
    ("/webhooks/{webhookId}", webhook_pages.webhook_page),
    ("/webhooks/{webhookId}/deliveries", delivery_pages.webhook_deliveries),
    ("/webhooks/{webhookId}/edit", webhook_forms.edit_form),
    ("/webhooks/{webhookId}/secret", webhook_pages.secret_page),
    ("/webhooks/{webhookId}/disable", webhook_actions.confirm_disable),
    ("/webhooks/{webhookId}/rotate", webhook_actions.confirm_rotate),
    ("/webhooks/{webhookId}/delete", webhook_actions.confirm_delete),
    ("/webhooks/{webhookId}/retry", webhook_actions.confirm_retry),
    ("/deliveries", delivery_pages.all_deliveries),
    ("/deliveries/{deliveryId}", delivery_pages.delivery_page),
    ("/deliveries/{deliveryId}/attempts/{number}/curl", delivery_pages.curl),
    ("/events", event_pages.event_list),
    ("/events/{eventId}", event_pages.event_page),
    ("/webhooks/{tail:.+}", entry_pages.nothing_here),
    ("/deliveries/{tail:.+}", entry_pages.nothing_here),
    ("/events/{tail:.+}", entry_pages.nothing_here),
)
_ACTIONS: Final = (
    ("/sign-out", entry_pages.sign_out),
    ("/check/url", webhook_forms.check_url),
    ("/check/filter", webhook_forms.check_filter),
    ("/webhooks/new", webhook_forms.create),
    ("/webhooks/{webhookId}/edit", webhook_forms.edit),
    ("/webhooks/{webhookId}/test", webhook_actions.test),
    ("/webhooks/{webhookId}/enable", webhook_actions.enable),
    ("/webhooks/{webhookId}/disable", webhook_actions.disable),
    ("/webhooks/{webhookId}/rotate", webhook_actions.rotate),
    ("/webhooks/{webhookId}/delete", webhook_actions.delete),
    ("/webhooks/{webhookId}/retry", webhook_actions.retry),
    ("/deliveries/{deliveryId}/retry", delivery_pages.retry),
)


class Dashboard:
    """The pages, ready to be mounted into the API's application."""

    def __init__(
        self,
        settings: Settings,
        *,
        keys: Keys,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        refused: Callable[[], Mapping[str, int]],
    ) -> None:
        """`refused` returns how many events were refused since the start, by code."""
        self._clock = clock
        self._refusals = Refusals(refused)
        self._site = Site(
            settings, Sessions(keys, clock, random_bytes), SignInLimit(clock), self._refusals
        )

    has_session = staticmethod(guard.has_session)
    """For `Deps.has_session`: a page reads the API's streams with its own cookie."""
    session_cookie = guard.COOKIE

    def mount(self, app: web.Application) -> None:
        """Add the paths; for `make_app`."""
        app[SITE] = self._site
        router = app.router
        router.add_get("/sign-in", guard.open_page(entry_pages.sign_in_form))
        router.add_post("/sign-in", guard.open_page(entry_pages.sign_in))
        router.add_get("/favicon.ico", guard.open_page(entry_pages.favicon))
        router.add_get("/assets/{name}", guard.open_page(entry_pages.asset))
        # Before the pages: "/webhooks/{tail}" would take what only answers to POST.
        for path, handler in _ACTIONS:
            router.add_post(path, guard.action(handler))
        for path, handler in _PAGES:
            router.add_get(path, guard.page(handler))

    async def run(self) -> None:
        """Look at the counters every minute, for ever; to be supervised."""
        while True:
            await self._clock.sleep(SAMPLE_S)
            self._refusals.sample()
