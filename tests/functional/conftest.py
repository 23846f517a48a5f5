"""Operator and gateway in process, each over the same kind of fake API server; no cluster, no network."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kmock
import pytest
from aiohttp.test_utils import TestClient, TestServer

from api_gateway import store as gateway_store
from api_gateway.app import make_app
from api_gateway.auth import directory
from slipway import cluster as slipway_cluster
from slipway.api.kinds import NODE
from slipway.cluster import Cluster
from slipway.settings import Settings
from tests.support.aws import no_aws
from tests.support.fake_api import FakeApi
from tests.support.fake_http import serve, write_kubeconfig
from tests.support.gateway import Gateway
from tests.support.logged import Log
from tests.support.objects import a_node, forget_settings
from tests.support.operator import Clock
from tests.support.until import until

StartGateway = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_settings(monkeypatch)
    no_aws(monkeypatch)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The operator's time, which stands still until it is moved."""
    clock = Clock()
    clock.install(monkeypatch)
    return clock


@pytest.fixture
async def api(request: pytest.FixtureRequest) -> FakeApi:
    """An API server with one node; its time is the operator's, where that one stands still."""
    frozen: Clock | None = request.getfixturevalue("clock") if "clock" in request.fixturenames else None
    api = FakeApi(lambda: frozen.now if frozen else datetime.now(UTC).replace(microsecond=0))
    api.put(NODE, a_node())
    return api


@pytest.fixture
async def kube(api: FakeApi) -> AsyncIterator[kmock.KubernetesScaffold]:
    """The API server over HTTP. `kube["post"] << 500` scripts an answer that comes before the api's own."""
    async with kmock.KubernetesScaffold() as handler, kmock.Server(handler):
        serve(handler, api)
        yield handler
        api.end_watches()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Retries, reconnects and waits as in production, only sooner."""
    monkeypatch.setattr(slipway_cluster, "RETRY_DELAYS", (0.001, 0.002, 0.003))
    monkeypatch.setattr(gateway_store, "RECONNECT_SECONDS", 0.01)
    monkeypatch.setattr(gateway_store, "GONE_SECONDS", 0.05)
    monkeypatch.setattr(directory, "REREAD_SECONDS", 0.01)
    return iter(())


@pytest.fixture
async def cluster(
    kube: kmock.KubernetesScaffold, patient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cluster]:
    """The real connection, by a kubeconfig."""
    path = write_kubeconfig(tmp_path / "kubeconfig", str(kube.url))
    monkeypatch.setenv("KUBECONFIG", str(path))
    # the client reads KUBECONFIG when it is imported
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    async with Cluster.connect(seconds=3.0) as connected:
        yield connected


@pytest.fixture
def log() -> Iterator[Log]:
    with Log().listening() as listening:
        yield listening


@pytest.fixture
def start_gateway(api: FakeApi, kube: kmock.KubernetesScaffold, cluster: Cluster) -> StartGateway:
    """`async with start_gateway(api_key="…") as gateway`: arguments are settings."""

    @asynccontextmanager
    async def start(*, synced: bool = True, **settings: Any) -> AsyncIterator[Gateway]:
        given = {"stack_scheduling_timeout": 0.2, **settings}
        async with TestClient(TestServer(make_app(Settings(**given), cluster))) as client:
            gateway = Gateway(client, api, kube)
            if synced:
                await until(lambda: api.watching)
            yield gateway
            api.end_watches()

    return start


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> AsyncIterator[Gateway]:
    """A gateway with default settings, anonymous on loopback, whose watch runs."""
    async with start_gateway() as started:
        yield started
