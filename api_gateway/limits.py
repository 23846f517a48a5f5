"""How much one client, and one user, may ask for."""

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable

from aiohttp import web
from aiohttp.typedefs import Middleware

from api_gateway.keys import SETTINGS
from api_gateway.metrics import LIMITED
from api_gateway.principal import ANONYMOUS, PRINCIPAL
from api_gateway.problems import Problem
from api_gateway.routing import Handler, is_mutation
from slipway.api.meta import Object
from slipway.settings import Settings

BURST = 4.0  # seconds' worth of writes at once
IN_FLIGHT = 256  # writes of one client


class Buckets:
    """Token buckets by key. `rate` tokens a second flow into each, up to `burst`; one that is full is forgotten.

    clock: seconds, which never go back.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / rate
        self._burst = burst
        self._clock = clock
        self._full_at: dict[Hashable, float] = {}
        self._sweep_at = -math.inf

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable) -> float:
        """Take a token. 0: there was one; else in how many seconds there will be."""
        now = self._clock()
        self._sweep(now)
        full_at = max(self._full_at.get(key, now), now) + self._interval
        wait = full_at - now - self._burst * self._interval
        if wait > 1e-9:  # less is what adding up has left
            return wait
        self._full_at[key] = full_at
        return 0.0

    def _sweep(self, now: float) -> None:
        """As often as an empty bucket takes to be full, so that it costs little for each token."""
        if now >= self._sweep_at:
            self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
            self._sweep_at = now + self._burst * self._interval


STARTS = web.AppKey("starts", Buckets)
"""Starts and deletions of Stacks, by tenant and user."""


def limit(settings: Settings) -> Middleware:
    """Hold back who writes too much. To be inside of what finds the principal."""
    writes = Buckets(settings.client_writes, BURST * settings.client_writes)
    in_flight: Counter[Hashable] = Counter()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_mutation(request):
            return await handler(request)
        client = _client(request)
        if wait := writes.take(client):
            text = f"too many requests: one client may send {settings.client_writes} writes a second"
            raise _too_many("client_writes", text, wait)
        if in_flight[client] >= IN_FLIGHT:
            text = f"too many requests: {IN_FLIGHT} writes of this client are under way, which is as many as may be"
            raise _too_many("client_in_flight", text, 1)
        in_flight[client] += 1
        try:
            return await handler(request)
        finally:
            in_flight[client] -= 1
            if not in_flight[client]:
                del in_flight[client]

    return check


def starts(settings: Settings) -> Buckets:
    """As many at once as may be in a minute; they come back over a minute."""
    return Buckets(settings.stack_rate_per_user / 60, settings.stack_rate_per_user)


def count_start(request: web.Request, spec: Object) -> None:
    """Count a start or deletion of a Stack against its user, or raise the Problem that there were too many."""
    user = spec["userId"]
    if wait := request.app[STARTS].take((spec.get("tenant", ""), user)):
        most = request.app[SETTINGS].stack_rate_per_user
        text = f"user {user} has started and deleted too many stacks: {most} in a minute may be"
        raise _too_many("user_starts", text, wait)


def _client(request: web.Request) -> Hashable:
    """Who it is, else where it comes from."""
    principal = request.get(PRINCIPAL, ANONYMOUS)
    return request.remote if principal.name == ANONYMOUS.name else (principal.tenant, principal.name)


def _too_many(kind: str, text: str, wait: float) -> Problem:
    LIMITED.labels(kind).inc()
    seconds = math.ceil(wait)
    return Problem(429, f"{text}; try again in {seconds} s", {"Retry-After": str(seconds)})
