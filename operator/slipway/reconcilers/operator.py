"""The operator's process: kopf watches, controllers reconcile. The only importer of kopf."""

import asyncio
import functools
import logging
from typing import Any, cast

import kopf

from slipway.api.kinds import GROUP, Kind
from slipway.cluster import Cluster
from slipway.reconcilers.controller import CHILDREN, Controller
from slipway.reconcilers.stack import StackReconciler
from slipway.settings import Settings

log = logging.getLogger(__name__)


async def run(settings: Settings, liveness: str | None) -> None:
    """Reconcile until SIGTERM or SIGINT; any task that fails ends the process, whose restart loses nothing.

    liveness: URL on which kopf answers health checks (`http://127.0.0.1:8081/healthz`).
    """
    async with Cluster.connect(settings.request_timeout) as cluster:
        namespace = settings.stack_namespace
        controllers = [
            Controller(StackReconciler, cluster, settings, namespace, sweep=settings.stack_scheduler_interval)
        ]
        for controller in controllers:
            await controller.start()
        log.info("reconciling in namespace %s", namespace)
        work = [asyncio.create_task(controller.run()) for controller in controllers]
        watches = asyncio.create_task(
            kopf.operator(
                registry=_registry(controllers),
                settings=_kopf_settings(controllers),
                standalone=True,
                namespaces=[namespace],
                liveness_endpoint=liveness,
            )
        )
        try:
            done, _ = await asyncio.wait([watches, *work], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (watches, *work):
                task.cancel()
            await asyncio.gather(watches, *work, return_exceptions=True)


def _registry(controllers: list[Controller]) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login)
    for controller in controllers:
        for kind in controller.kinds:
            seen = functools.partial(_seen, controller, kind)
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


async def _seen(controller: Controller, kind: Kind, event: Any, **_: Any) -> None:
    controller.seen(kind, event["type"], event["object"])


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _kopf_settings(controllers: list[Controller]) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # Events are for what people look for, not a copy of the log
    settings.scanning.disabled = True  # CRDs and namespaces do not come and go under us: no right to watch them
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = kopf.StatusProgressStorage()
    # By default kopf gives a watch up after a minute without the API server, and waits up to 21 s between two tries.
    settings.networking.error_backoffs = (1, 1, 2, 3, *[5] * 1000)
    settings.queueing.idle_timeout = 0.5  # seconds; kopf keeps a task for each object for that long, 5 by default
    for controller in controllers:
        for kind in controller.kinds:
            if kind.group != GROUP:
                settings.watching.label_selectors[kind.group, kind.version, kind.plural] = CHILDREN
    return settings
