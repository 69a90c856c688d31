"""The API as an aiohttp application."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from prynt_relay.api.bodies import MAX_BODY
from prynt_relay.api.deps import DEPS, OPENAPI, Deps
from prynt_relay.api.idempotency import IdempotentPosts
from prynt_relay.api.middleware import Gate, on_prepare
from prynt_relay.api.openapi import build
from prynt_relay.api.routes import OPERATIONS


def make_app(deps: Deps, mount: Callable[[web.Application], None] | None = None) -> web.Application:
    """Return the application; `mount` may add what isn't API, such as the dashboard at `/`.

    It serves; `deps.hub.run()` and `deps.upkeep.run()` are for the supervisor to run beside it.
    """
    posts = IdempotentPosts(deps.storage, deps.secret_box, deps.clock)
    gate = Gate(OPERATIONS, posts)

    @web.middleware
    async def pass_gate(
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        return await gate(request, handler)

    app = web.Application(client_max_size=MAX_BODY, middlewares=[pass_gate])
    app[DEPS] = deps
    app[OPENAPI] = build(
        deps.event_types,
        allow_http=deps.allow_http,
        allow_addresses=deps.allow_addresses,
        session_cookie=deps.session_cookie,
    )
    app.on_response_prepare.append(on_prepare)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, operation.handler)
        if operation.method == "GET":
            app.router.add_route("HEAD", operation.path, operation.handler)
    if mount is not None:
        mount(app)
    return app
