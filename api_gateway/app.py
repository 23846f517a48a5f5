"""The gateway's process."""

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import AsyncIterator

from aiohttp import web

from api_gateway.keys import OPENAPI, SETTINGS, STACKS
from api_gateway.metrics import measure
from api_gateway.middleware import answer_errors, guard, harden, is_loopback
from api_gateway.openapi import document
from api_gateway.routes import OPERATIONS
from api_gateway.store import Store
from slipway import log
from slipway.api.kinds import STACK
from slipway.cluster import Cluster
from slipway.settings import Settings, load

BODY_BYTES = 256 * 1024  # a pod spec has at most 64 KiB


def make_app(settings: Settings, cluster: Cluster) -> web.Application:
    """The gateway over one cluster, ready to run."""
    access = {operation.path: operation.access for operation in OPERATIONS}
    app = web.Application(
        middlewares=[measure, harden, answer_errors, guard(settings, access)], client_max_size=BODY_BYTES
    )
    app[SETTINGS] = settings
    app[STACKS] = Store(cluster, STACK, settings.stack_namespace)
    app[OPENAPI] = json.dumps(document(OPERATIONS)).encode()
    app.cleanup_ctx.append(_watch)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, operation.handler)
        if operation.method == "GET":
            app.router.add_route("HEAD", operation.path, operation.handler)
    return app


async def _watch(app: web.Application) -> AsyncIterator[None]:
    watching = asyncio.create_task(app[STACKS].run())
    watching.add_done_callback(_ended)
    yield
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


def _ended(watching: asyncio.Task[None]) -> None:
    """A gateway whose watch has died answers from a frozen cache: better that it is started anew."""
    if not watching.cancelled():
        logging.getLogger(__name__).critical("the watch ended", exc_info=watching.exception())
        os.kill(os.getpid(), signal.SIGTERM)


async def _serve(settings: Settings) -> web.Application:
    """The app with its own connection, which it closes at the end."""
    connected = contextlib.AsyncExitStack()
    cluster = await connected.enter_async_context(Cluster.connect(settings.request_timeout))
    app = make_app(settings, cluster)

    async def close(_: web.Application) -> None:
        await connected.aclose()

    app.on_cleanup.append(close)
    return app


def main() -> None:
    settings = load()
    if settings.api_key is None and not is_loopback(settings.host):
        raise SystemExit(f"SLIPWAY_HOST: {settings.host} is not loopback, so SLIPWAY_API_KEY must be set as well")
    log.configure(settings.log_level)
    web.run_app(_serve(settings), host=settings.host, port=settings.port, print=None)


if __name__ == "__main__":
    main()
