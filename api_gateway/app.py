"""The gateway's process."""

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import AsyncIterator

import uvloop
from aiohttp import web

from api_gateway.audit import audit
from api_gateway.auth.guard import guard
from api_gateway.auth.service import Auth
from api_gateway.keys import AUTH, OPENAPI, SETTINGS, STACKS, STORES
from api_gateway.limits import LIMITS, Limits, limit
from api_gateway.metrics import measure
from api_gateway.middleware import answer_errors, harden
from api_gateway.openapi import document
from api_gateway.request_id import identify
from api_gateway.routes import OPERATIONS
from api_gateway.routes.stacks import OPERATOR_SECONDS
from api_gateway.store import GONE_SECONDS, Store
from slipway import log
from slipway.api.kinds import STACK
from slipway.cluster import Cluster
from slipway.errors import ApiError, InvalidInput
from slipway.settings import Settings, load

LOG = logging.getLogger("api_gateway.app")  # also where this module is __main__
BODY_BYTES = 256 * 1024  # a pod spec has at most 64 KiB
FINISH_SECONDS = 10.0  # for removals in the background, when the process ends


def make_app(settings: Settings, cluster: Cluster) -> web.Application:
    """The gateway over one cluster, ready to run. Raises InvalidInput for a setting that cannot be."""
    auth = Auth(settings, cluster)
    around = [measure, identify, audit, harden, answer_errors, guard(settings, OPERATIONS, auth), limit]
    app = web.Application(middlewares=around, client_max_size=BODY_BYTES)
    app[SETTINGS] = settings
    app[AUTH] = auth
    app[STACKS] = Store(cluster, STACK, settings.stack_namespace, settings.request_timeout)
    app[STORES] = (app[STACKS],)
    app[LIMITS] = Limits(settings)
    app[OPENAPI] = json.dumps(document(OPERATIONS)).encode()
    app.cleanup_ctx.append(_watch)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, operation.handler)
        if operation.method == "GET":
            app.router.add_route("HEAD", operation.path, operation.handler)
    return app


async def _watch(app: web.Application) -> AsyncIterator[None]:
    """Every store's watch, and news of who may, until no request is left and what is being removed is gone."""
    watches = [asyncio.create_task(run()) for run in (*(store.run for store in app[STORES]), app[AUTH].run)]
    for watching in watches:
        watching.add_done_callback(_ended)
    yield
    await asyncio.gather(*(store.finish(FINISH_SECONDS) for store in app[STORES]))
    for watching in watches:
        watching.cancel()
    await asyncio.gather(*watches, return_exceptions=True)


def _ended(watching: asyncio.Task[None]) -> None:
    """A gateway whose watch has died answers from a frozen cache: better that it starts anew."""
    if not watching.cancelled():
        LOG.critical("a watch ended", exc_info=watching.exception())
        os.kill(os.getpid(), signal.SIGTERM)


async def _serve(settings: Settings) -> web.Application:
    """The app with its own connection, which it closes at the end."""
    async with contextlib.AsyncExitStack() as opening:
        cluster = await opening.enter_async_context(Cluster.connect(settings.request_timeout))
        app = make_app(settings, cluster)
        connected = opening.pop_all()

    async def close(_: web.Application) -> None:
        await connected.aclose()

    app.on_cleanup.append(close)
    return app


def shutdown_seconds(settings: Settings) -> float:
    """What the slowest request may take to its end: a create that is not judged in time, and then undone."""
    judged = settings.stack_scheduling_timeout + OPERATOR_SECONDS
    return judged + GONE_SECONDS + 2 * settings.request_timeout


def _say(started: str) -> None:
    """aiohttp's own words, of which the first line tells the address."""
    LOG.info("%s", started.splitlines()[0].strip("= "))


def main() -> None:
    settings = load()
    log.configure(settings.log_level, settings.log_format)
    seconds = shutdown_seconds(settings)
    loop = uvloop.new_event_loop()
    host, port = settings.host, settings.port
    try:
        web.run_app(_serve(settings), host=host, port=port, print=_say, shutdown_timeout=seconds, loop=loop)
    except (InvalidInput, ApiError) as error:
        raise SystemExit(f"the gateway cannot start: {error}") from error


if __name__ == "__main__":
    main()
