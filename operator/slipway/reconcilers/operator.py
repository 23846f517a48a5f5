"""The operator's process: kopf watches, controllers reconcile. The only importer of kopf."""

import asyncio
import functools
import logging
import signal
import socket
from collections.abc import Coroutine, Iterable
from contextlib import nullcontext
from typing import Any, cast
from uuid import uuid4

import kopf

from slipway.api.meta import Object
from slipway.cluster import Cluster
from slipway.errors import Unavailable
from slipway.lease import Lease
from slipway.metrics import MIRROR_BEHIND, MIRROR_SUCCESS, REGISTRY
from slipway.mirror.mirror import Mirror
from slipway.probes import Heartbeat, Probes
from slipway.reconcilers.controller import Controller
from slipway.reconcilers.stack import StackReconciler
from slipway.settings import Settings

log = logging.getLogger(__name__)


BEGIN_SECONDS = 1.0
DRAIN_SECONDS = 15.0
"""What is under way at the end may take so long: a reconcile is a few calls to the API server."""


class Operator:
    """One process: it stands by and leads in turn."""

    def __init__(self, settings: Settings, lease: Lease) -> None:
        self._settings = settings
        self._lease = lease
        self._stop = asyncio.Event()
        self._controllers: list[Controller] = []  # while leading
        self._mirror = Mirror(settings, self._stacks, lease.held) if settings.ddb_stack_table else None
        if mirror := self._mirror:
            MIRROR_BEHIND.set_function(lambda: mirror.behind)
            MIRROR_SUCCESS.set_function(lambda: mirror.last_success or 0)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. What fails ends the process: a restart loses nothing."""
        self._stop_on_signals()
        while not self._stop.is_set():
            log.info("standing by")
            await _until_first(self._lease.acquire(), self._stop.wait())
            if self._lease.held():
                try:
                    await self._lead_until_lost()
                finally:
                    await self._lease.release()

    def deaf(self) -> str | None:
        """Which watches bring nothing any more; None while all is well."""
        return "; ".join(filter(None, (controller.deaf() for controller in self._controllers))) or None

    def _stacks(self) -> Iterable[Object]:
        return (resource for controller in self._controllers for resource in controller.resources)

    def waiting(self) -> str | None:
        """Why neither leading nor standing by; None while one of them is true."""
        return None if self._lease.informed() else "the lease cannot be read: is the API server there?"

    async def _lead_until_lost(self) -> None:
        try:
            await _until_first(self._lease.keep(), self._lead())
        except Unavailable as error:
            log.warning("cannot begin to reconcile, again in %g s: %s", BEGIN_SECONDS, error)
            await asyncio.sleep(BEGIN_SECONDS)
        finally:
            self._controllers = []
            self._stop_on_signals()  # kopf's handlers outlive it

    async def _lead(self) -> None:
        """Reconcile until cancelled, or until told to stop, and what is under way then is finished."""
        settings = self._settings
        async with Cluster.connect(settings.request_timeout, self._lease.held) as cluster:
            namespace, sweep = settings.stack_namespace, settings.stack_scheduler_interval
            controllers = [Controller(StackReconciler, cluster, settings, namespace, sweep)]
            await _until_first(_started(controllers), self._stop.wait())
            if self._stop.is_set():
                return
            watches = await _watches(controllers, namespace)
            self._stop_on_signals()  # kopf took them for itself
            self._controllers = controllers
            log.info("reconciling in namespace %s", namespace)
            work = [asyncio.create_task(controller.run()) for controller in controllers]
            beside: list[asyncio.Task[Any]] = [asyncio.create_task(self._stop.wait())]
            if self._mirror:
                beside.append(asyncio.create_task(self._mirror.run()))
            try:
                await _first((watches, *work, *beside))
                await _drained(controllers, work)
            finally:
                await _end(*work, *beside)
                await _end(watches)  # as the last one: kopf cancels whatever was begun after it

    def _stop_on_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)


async def run(settings: Settings) -> None:
    """The operator with its health and metrics. Raises SlipwayError when it cannot begin."""
    identity = f"{socket.gethostname()}_{uuid4().hex[:8]}"
    async with Cluster.connect(settings.lease_duration / 4) as own:
        lease = Lease(own, settings.namespace, identity, settings.lease_duration)
        operator, heartbeat = Operator(settings, lease), Heartbeat()
        probes = Probes(
            settings.probe_host,
            settings.probe_port,
            health={"loop": heartbeat.check, "watches": operator.deaf},
            ready={"lease": operator.waiting},
            registry=REGISTRY,
            api_key=settings.api_key,
        )
        with probes if settings.probe_port else nullcontext():
            await _until_first(operator.run(), heartbeat.run())


async def _started(controllers: list[Controller]) -> None:
    for controller in controllers:
        await controller.start()


async def _drained(controllers: list[Controller], work: list[asyncio.Task[None]]) -> None:
    for controller in controllers:
        controller.close()
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await asyncio.gather(*work)
    except TimeoutError:
        log.warning("not all was finished within %g s: the next leader goes on from there", DRAIN_SECONDS)


async def _watches(controllers: list[Controller], namespace: str) -> asyncio.Task[None]:
    """kopf at work; it tells the controllers what it sees."""
    before = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=_registry(controllers),
        settings=_kopf_settings(),
        standalone=True,
        namespaces=[namespace],
    )
    return asyncio.create_task(kopf.run_tasks(tasks, ignored=before))


async def _until_first(*jobs: Coroutine[Any, Any, Any]) -> None:
    """Run them until one ends, and cancel the others. What failed is raised."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        await _first(tasks)
    finally:
        await _end(*tasks)


async def _first(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait until one of them ends. What failed is raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _registry(controllers: list[Controller]) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login)
    for controller in controllers:
        kind, seen = controller.kind, functools.partial(_seen, controller)
        kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)(seen)
    return registry


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf compares each object with its former self; we reconcile levels and never look."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return cast("kopf.BodyEssence", {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        return None


async def _seen(controller: Controller, event: Any, **_: Any) -> None:
    controller.seen(controller.kind, event["type"], event["object"])


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # Events are for what people look for, not a copy of the log
    settings.scanning.disabled = True  # CRDs and namespaces do not come and go under us: no right to watch them
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = kopf.StatusProgressStorage()
    # By default kopf gives a watch up after a minute without the API server, and waits up to 21 s between two tries.
    settings.networking.error_backoffs = (1, 1, 2, 3, *[5] * 1000)
    settings.queueing.idle_timeout = 0.5  # seconds; kopf keeps a task for each object for that long, 5 by default
    return settings
