"""How much one client, and one user, may ask for."""

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from aiohttp import web

from api_gateway.metrics import LIMITED
from api_gateway.principal import ANONYMOUS, PRINCIPAL
from api_gateway.problems import Problem
from api_gateway.routing import Handler, is_mutation
from slipway.api.meta import Object
from slipway.settings import Settings

BURST_SECONDS = 4  # of writes may come at once
IN_FLIGHT = 1024  # writes of one client, which may be a whole contest's platform


class Buckets:
    """Token buckets by key. `rate` tokens a second flow into each, up to `burst`; one that is full is forgotten.

    clock: seconds, which never go back.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / rate
        self._burst = burst
        self.clock = clock
        self._full_at: dict[Hashable, float] = {}
        self._sweep_at = -math.inf

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable) -> float:
        """Take a token. 0: there was one; else in how many seconds there will be."""
        now = self.clock()
        self._sweep(now)
        full_at = max(self._full_at.get(key, now), now) + self._interval
        wait = full_at - now - self._burst * self._interval
        if wait > 1e-9:  # less is what adding up has left
            return wait
        self._full_at[key] = full_at
        return 0.0

    def give_back(self, key: Hashable) -> None:
        """A token that was taken for nothing."""
        if key in self._full_at:
            self._full_at[key] -= self._interval

    def _sweep(self, now: float) -> None:
        """As often as an empty bucket takes to be full, so that it costs little for each token."""
        if now >= self._sweep_at:
            self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
            self._sweep_at = now + self._burst * self._interval


class Limits:
    """What is counted, for one gateway: several do not know of each other."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.writes = Buckets(settings.client_writes, BURST_SECONDS * settings.client_writes)
        self.in_flight: Counter[Hashable] = Counter()
        self.starts = Buckets(settings.stack_rate_per_user / 60, settings.stack_rate_per_user)
        """Starts and deletions of Stacks, by tenant and user."""

    @contextmanager
    def write(self, client: Hashable) -> Iterator[None]:
        """Around one write of a client; raises the Problem that there are too many."""
        if wait := self.writes.take(client):
            text = f"too many requests: one client may send {self.settings.client_writes} writes a second"
            raise _too_many("client_writes", text, wait)
        if self.in_flight[client] >= IN_FLIGHT:
            raise _too_many("client_in_flight", f"too many requests: {IN_FLIGHT} of this client are under way", 1)
        self.in_flight[client] += 1
        try:
            yield
        finally:
            self.in_flight[client] -= 1
            if not self.in_flight[client]:
                del self.in_flight[client]

    def start(self, spec: Object) -> None:
        """A start or deletion of a Stack; raises the Problem that its user has had too many."""
        user, most = spec["userId"], self.settings.stack_rate_per_user
        if wait := self.starts.take(_user(spec)):
            text = f"user {user} starts and deletes too many stacks: at most {most} in a minute"
            raise _too_many("user_starts", text, wait)

    def not_started(self, spec: Object) -> None:
        """Nothing came of it: the pair has a Stack already."""
        self.starts.give_back(_user(spec))


def _user(spec: Object) -> Hashable:
    return spec.get("tenant", ""), spec["userId"]


LIMITS = web.AppKey("limits", Limits)


@web.middleware
async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Hold back who writes too much. To be inside of what finds the principal."""
    if not is_mutation(request):
        return await handler(request)
    with request.app[LIMITS].write(_client(request)):
        return await handler(request)


def _client(request: web.Request) -> Hashable:
    """Who it is, else where it comes from."""
    principal = request.get(PRINCIPAL, ANONYMOUS)
    return request.remote if principal.name == ANONYMOUS.name else (principal.tenant, principal.name)


def _too_many(kind: str, text: str, wait: float) -> Problem:
    LIMITED.labels(kind).inc()
    seconds = math.ceil(wait)
    return Problem(429, f"{text}; try again in {seconds} s", {"Retry-After": str(seconds)})
