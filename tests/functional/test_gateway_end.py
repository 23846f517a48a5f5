"""How the gateway ends: what it has begun is finished, and nothing new is begun."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import kmock
import pytest
from aiohttp import web
from yarl import URL

from api_gateway import app as gateway_app
from api_gateway.app import make_app, shutdown_seconds
from api_gateway.keys import STACKS
from slipway.api.kinds import STACK
from slipway.cluster import Cluster
from tests.support import api_answers
from tests.support.fake_api import FakeApi
from tests.support.fake_http import write_kubeconfig
from tests.support.gateway import ask, placed
from tests.support.objects import a_stack, some_settings
from tests.support.until import until
from tests.testbed.paths import REPO

Answer = tuple[int, Any]


class Server:
    """The gateway on a port of its own, as `main` would run it."""

    def __init__(self, cluster: Cluster, seconds: float) -> None:
        self.app = make_app(some_settings(stack_scheduling_timeout=20), cluster)
        self.runner = web.AppRunner(self.app, shutdown_timeout=seconds)
        self.url = ""

    async def start(self) -> None:
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = site.name


@asynccontextmanager
async def serving(cluster: Cluster, seconds: float = 5) -> AsyncIterator[tuple[Server, aiohttp.ClientSession]]:
    server = Server(cluster, seconds)
    await server.start()
    async with aiohttp.ClientSession() as session:
        yield server, session
    await server.runner.cleanup()


async def post(session: aiohttp.ClientSession, url: str) -> Answer:
    async with session.post(f"{url}/stacks", json=ask()) as response:
        return response.status, await response.json()


async def refused_soon(url: str) -> None:
    """Until nobody listens. Nothing is sent: aiohttp leaves what it accepts in the last moment without an answer."""
    address = URL(url)
    for _ in range(2000):
        try:
            _, writer = await asyncio.open_connection(address.host, address.port)
        except ConnectionError:
            return
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await asyncio.sleep(0.002)
    raise AssertionError("it still takes connections")


def place(api: FakeApi) -> None:
    api.edit(STACK, "stack-1-2", lambda s: s.update(status=placed(s)["status"]))


async def test_a_create_under_way_is_finished(cluster: Cluster, api: FakeApi) -> None:
    async with serving(cluster) as (server, session):
        request = asyncio.create_task(post(session, server.url))
        await until(lambda: api.names(STACK))
        end = asyncio.create_task(server.runner.cleanup())
        await refused_soon(server.url)
        assert api.watching, "what the request waits for comes by the watch"
        assert not request.done()
        assert not end.done()
        place(api)
        assert (await request)[0] == 201
        api.end_watches()
        await asyncio.wait_for(end, 3)
        assert api.names(STACK) == ["stack-1-2"]


async def test_what_does_not_come_to_its_end_is_cut_off_and_audited(
    cluster: Cluster, api: FakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "slipway.audit")
    async with serving(cluster, seconds=0.05) as (server, session):
        request = asyncio.create_task(post(session, server.url))
        await until(lambda: api.names(STACK))
        await asyncio.wait_for(server.runner.cleanup(), 3)
        with pytest.raises(aiohttp.ClientError):
            await request
    uid = api.the(STACK)["metadata"]["uid"]
    (line,) = [r.getMessage() for r in caplog.records if r.name == "slipway.audit"]
    assert f"route=/stacks resource={uid} status=0" in line


async def test_idle_connections_hold_nothing_up(cluster: Cluster, api: FakeApi) -> None:
    async with serving(cluster, seconds=60) as (server, session):
        async with session.get(f"{server.url}/stacks") as response:
            assert response.status == 200
        await asyncio.wait_for(server.runner.cleanup(), 3)


async def removing(server: Server, api: FakeApi, answers: int) -> None:
    """A Stack is to be removed in the background, and the API server refuses that so often."""
    api.put(STACK, placed(a_stack()))
    store = server.app[STACKS]
    await until(lambda: store.get("uid-1-2"))
    resource = store.get("uid-1-2")
    assert resource
    api.refuse("delete", STACK, api_answers.INTERNAL, times=answers)
    store.remove(resource)


async def test_removals_in_the_background_are_finished(cluster: Cluster, api: FakeApi) -> None:
    async with serving(cluster) as (server, _):
        await removing(server, api, answers=10)
        await asyncio.wait_for(server.runner.cleanup(), 5)
        assert api.names(STACK) == []


async def test_but_not_waited_for_without_end(
    cluster: Cluster, api: FakeApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gateway_app, "FINISH_SECONDS", 0.05)
    async with serving(cluster) as (server, _):
        await removing(server, api, answers=1_000_000)
        await asyncio.wait_for(server.runner.cleanup(), 3)
    assert "1 stacks could not be removed before the end" in caplog.text


def test_the_slowest_create_may_come_to_its_end() -> None:
    settings = some_settings(stack_scheduling_timeout=60, request_timeout=7)
    assert shutdown_seconds(settings) >= 60 + 10 + 2 * 7


class Process:
    """`python -m api_gateway.app` over the fake API server."""

    def __init__(self, kubeconfig: Path, log: Path) -> None:
        self.log = log
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLIPWAY_", "STACK_", "KUBERNETES_"))}
        environment |= {
            "KUBECONFIG": str(kubeconfig),
            "SLIPWAY_PORT": "0",
            "SLIPWAY_LOG_FORMAT": "json",
            "PYTHONPATH": f"{REPO / 'operator'}:{REPO}",
        }
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api_gateway.app"], env=environment, stdout=output, stderr=output
            )

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def url(self) -> str:
        """Where it listens, once it says so."""
        assert self.process.poll() is None, self.log.read_text()
        said = (line["message"] for line in self.lines)
        return next((m.removeprefix("Running on ") for m in said if m.startswith("Running on ")), "")


async def test_sigterm_in_the_middle_of_a_create(kube: kmock.KubernetesScaffold, api: FakeApi, tmp_path: Path) -> None:
    process = Process(write_kubeconfig(tmp_path / "config", str(kube.url)), tmp_path / "log")
    try:
        url = await until(lambda: process.url, seconds=60)
        async with aiohttp.ClientSession() as session:
            request = asyncio.create_task(post(session, url))
            await until(lambda: api.names(STACK), seconds=20)
            process.process.send_signal(signal.SIGTERM)
            await refused_soon(url)
            assert process.process.poll() is None
            place(api)
            assert (await request)[0] == 201
        api.end_watches()
        await until(lambda: process.process.poll() is not None, seconds=20)
    finally:
        process.process.kill()
        process.process.wait()
    assert process.process.returncode == 0
    audit = process.lines[-1]
    assert (audit["logger"], audit["status"], audit["route"]) == ("slipway.audit", 201, "/stacks")
    assert audit["request_id"]
