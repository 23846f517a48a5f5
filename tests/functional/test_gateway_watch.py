"""The gateway's cache when the API server ends, refuses or breaks its watch."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api_gateway import store
from slipway.api.kinds import STACK
from slipway.cluster import WATCH_SILENCE_SECONDS, Cluster
from tests.functional.conftest import StartGateway
from tests.functional.test_stack_api import listed
from tests.support import api_answers
from tests.support.fake_api import Event, FakeApi
from tests.support.gateway import Gateway, placed
from tests.support.objects import a_stack
from tests.support.until import until


async def ready(gateway: Gateway, expected: bool = True) -> None:
    """Until /readyz says so."""
    for _ in range(500):
        status, answer = await gateway.call("GET", "/readyz")
        assert answer == {"ready": status == 200}
        if answer["ready"] is expected:
            return
        await asyncio.sleep(0.002)
    raise AssertionError(f"never ready={expected}")


async def test_the_server_ends_the_watch(gateway: Gateway, api: FakeApi) -> None:
    api.end_watches()
    api.put(STACK, placed(a_stack()))
    await listed(gateway, 1)
    await until(lambda: api.watching)
    assert len(gateway.kube["list"]) == 1, "it goes on where it stopped, and does not list again"


async def test_the_version_is_too_old(gateway: Gateway, api: FakeApi) -> None:
    """The watch ends, and the next one is told 410 Gone: only a list can tell what went meanwhile."""
    api.put(STACK, placed(a_stack(1, 1)))
    await listed(gateway, 1)
    (watch,) = api.silence()
    api.remove(STACK, "stack-1-1")
    api.put(STACK, placed(a_stack(1, 2)))
    api.oldest = api.revision
    watch.put_nowait(None)
    await until(lambda: api.watching)
    (seen,) = await listed(gateway, 1)
    assert seen["problem_id"] == 2
    assert len(gateway.kube["list"]) == 2


async def restart_watch(gateway: Gateway, api: FakeApi) -> None:
    """Break the connections; the gateway comes back for more."""
    for server in gateway.kube.servers:
        runner = server.server.runner
        assert runner
        assert runner.server
        for connection in list(runner.server.connections):
            connection.force_close()
            if connection.transport:
                connection.transport.close()
    await until(lambda: api.watching)


async def test_the_connection_breaks_and_what_went_meanwhile_is_dropped(gateway: Gateway, api: FakeApi) -> None:
    api.put(STACK, placed(a_stack(1, 1)))
    api.put(STACK, placed(a_stack(1, 2)))
    await listed(gateway, 2)
    api.silence()
    api.remove(STACK, "stack-1-1")
    await restart_watch(gateway, api)
    (seen,) = await listed(gateway, 1)
    assert seen["problem_id"] == 2
    await ready(gateway)


@pytest.mark.parametrize(
    "line",
    [
        b'{"type": "MODIFIED", "object": {"meta',
        b"not json\n",
        b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n',
        b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"storage is (re)initializing"}}\n',
        b'{"type":"ERROR","object":{"kind":"Status","message":"no code"}}\n',
        b"null\n",
        b"[]\n",
        b"{}\n",
    ],
    ids=["cut", "no-json", "expired", "error", "no-code", "null", "list", "empty"],
)
async def test_a_watch_that_says_nonsense(start_gateway: StartGateway, api: FakeApi, line: bytes) -> None:
    async with start_gateway(synced=False) as gateway:
        pass
    gateway.kube["watch"][len(gateway.kube["watch"]) : len(gateway.kube["watch"]) + 1] << (line,)
    async with start_gateway(synced=False) as gateway:
        await until(lambda: api.watching)
        api.put(STACK, placed(a_stack()))
        await listed(gateway, 1)
        await ready(gateway)


async def test_ready_only_while_the_watch_runs(start_gateway: StartGateway, api: FakeApi) -> None:
    api.refuse("list", STACK, api_answers.OVERLOADED)
    async with start_gateway(synced=False) as gateway:
        await until(lambda: gateway.kube["list"])
        assert await gateway.call("GET", "/readyz") == (503, {"ready": False})
        assert await gateway.call("GET", "/healthz") == (200, {"status": "ok"})
        api.admit_all()
        await ready(gateway)
        api.refuse("watch", STACK, api_answers.OVERLOADED)
        api.refuse("list", STACK, api_answers.OVERLOADED)
        api.end_watches()
        await ready(gateway, expected=False)
        for _ in range(20):
            assert (await gateway.call("GET", "/readyz"))[0] == 503, "it must not flap while nothing works"
        api.admit_all()
        await ready(gateway)


async def test_a_watch_that_is_refused_and_lists_that_work(start_gateway: StartGateway, api: FakeApi) -> None:
    """A missing right to watch: reads stay as new as the last list, and the server is not run over."""
    api.refuse("watch", STACK, api_answers.NO_RIGHT)
    async with start_gateway(synced=False) as gateway:
        api.put(STACK, placed(a_stack()))
        await listed(gateway, 1)
        before = len(gateway.kube["list"])
        await asyncio.sleep(0.1)
        assert len(gateway.kube["list"]) - before <= 12


async def test_a_watch_that_ends_at_once_every_time(start_gateway: StartGateway, api: FakeApi) -> None:
    """Some proxies do that: the gateway must not ask again without a pause."""
    async with start_gateway(synced=False) as gateway:
        pass
    gateway.kube["watch"] << (b"",)
    async with start_gateway(synced=False) as gateway:
        await until(lambda: gateway.kube["watch"])
        before = len(gateway.kube["watch"])
        await asyncio.sleep(0.1)
        assert len(gateway.kube["watch"]) - before <= 12  # RECONNECT_SECONDS is 10 ms here


class Slow:
    """Time that goes on only when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store_clock(monkeypatch: pytest.MonkeyPatch) -> Slow:
    clock = Slow()
    monkeypatch.setattr(store, "monotonic", clock)
    return clock


LONGEST_SILENCE = WATCH_SILENCE_SECONDS + 3 * 10.0
"""Beyond it a watch cannot be silent, with the default SLIPWAY_REQUEST_TIMEOUT."""


async def healthy(gateway: Gateway, expected: bool) -> None:
    """Until /healthz says so."""
    for _ in range(500):
        status, answer = await gateway.call("GET", "/healthz")
        assert (status == 200) is (answer == {"status": "ok"})
        if (status == 200) is expected:
            return
        await asyncio.sleep(0.002)
    raise AssertionError(f"never healthy={expected}")


async def test_a_watch_that_is_deaf(start_gateway: StartGateway, api: FakeApi, store_clock: Slow) -> None:
    """Neither an event nor the end that each silence must have: only a restart helps."""
    async with start_gateway() as gateway:
        await healthy(gateway, expected=True)
        store_clock.now += LONGEST_SILENCE - 1
        await healthy(gateway, expected=True)
        store_clock.now += 4
        status, answer = await gateway.call("GET", "/healthz")
        assert (status, list(answer)) == (503, ["status"])
        assert answer["status"] == "the watch of stacks hangs: no sign of life, 3 s beyond the longest silence"
        assert await gateway.call("GET", "/health") == (200, {"status": "healthy"})
        api.put(STACK, a_stack())  # it hears after all
        await healthy(gateway, expected=True)
        store_clock.now += LONGEST_SILENCE - 1
        await healthy(gateway, expected=True)


async def test_a_bookmark_is_a_sign_of_life(start_gateway: StartGateway, api: FakeApi, store_clock: Slow) -> None:
    async with start_gateway() as gateway:
        store_clock.now += LONGEST_SILENCE + 1
        await healthy(gateway, expected=False)
        bookmark = Event(STACK, "BOOKMARK", {"metadata": {"resourceVersion": str(api.revision)}})
        for queue in api._watches:
            queue.put_nowait(bookmark)
        await healthy(gateway, expected=True)


@pytest.mark.parametrize("call", ["list", "watch"])
async def test_a_call_that_never_comes_back(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch, store_clock: Slow, call: str
) -> None:
    hangs = asyncio.Event()

    async def hang(*_: Any) -> Any:
        hangs.set()
        await asyncio.Event().wait()

    async def hang_watching(*_: Any) -> AsyncIterator[Any]:
        await hang()
        yield

    monkeypatch.setattr(Cluster, call, hang if call == "list" else hang_watching)
    async with start_gateway(synced=False) as gateway:
        await hangs.wait()
        await healthy(gateway, expected=True)
        store_clock.now += 1000
        await healthy(gateway, expected=False)


async def tried_again(gateway: Gateway) -> None:
    """Until a list has been asked for and refused, with all its tries."""
    before = len(gateway.kube["list"])
    await until(lambda: len(gateway.kube["list"]) > before + 4)


async def test_an_api_server_that_is_away_is_no_reason(
    start_gateway: StartGateway, api: FakeApi, store_clock: Slow
) -> None:
    async with start_gateway() as gateway:
        for verb in ("list", "watch"):
            api.refuse(verb, STACK, api_answers.OVERLOADED)
        api.end_watches()
        await ready(gateway, expected=False)
        for _ in range(10):
            store_clock.now += LONGEST_SILENCE + 1
            await tried_again(gateway)
            await healthy(gateway, expected=True)
        assert (await gateway.call("GET", "/readyz"))[0] == 503
