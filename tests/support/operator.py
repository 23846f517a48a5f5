"""The operator without kopf: a Controller over a FakeApi, whose events reach it as kopf would bring them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from time import monotonic
from types import TracebackType
from typing import Any, Self

import pytest

from slipway.api.kinds import STACK, Kind
from slipway.api.meta import ObjectMeta
from slipway.builders.event import Notice
from slipway.reconcilers import deadlines, queue
from slipway.reconcilers import stack as stack_reconciler
from slipway.reconcilers.controller import Controller
from slipway.reconcilers.events import Recorder
from slipway.reconcilers.stack import StackReconciler
from slipway.settings import Settings
from tests.support.fake_api import Event, FakeApi
from tests.support.fake_cluster import FakeCluster
from tests.support.objects import CREATED, NAMESPACE

NEVER = 1000.0  # seconds between sweeps, where none is wanted
QUIET_TURNS = 20  # of the event loop; a call takes two


class Clock:
    """Time that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = CREATED

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the operator look at this clock, often, and retry soon."""
        clock = self

        class Frozen(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Any:
                return clock.now.astimezone(tz or UTC)

        monkeypatch.setattr(stack_reconciler, "datetime", Frozen)
        monkeypatch.setattr(deadlines, "datetime", Frozen)
        monkeypatch.setattr(deadlines, "LONGEST_SLEEP", 0.001)
        monkeypatch.setattr(queue, "FIRST_DELAY", 0.001)
        monkeypatch.setattr(queue, "LONGEST_DELAY", 0.004)


class Memory(Recorder):
    """Keeps what it is told, and writes nothing: Events would be among the writes that tests count."""

    def __init__(self, cluster: FakeCluster) -> None:
        super().__init__(cluster)
        self.told: list[tuple[ObjectMeta, Notice]] = []

    def tell(self, kind: Kind, metadata: ObjectMeta, notice: Notice) -> None:
        self.told.append((metadata, notice))


class Operator:
    """One life of the operator; entered, it has listed and works."""

    def __init__(
        self, api: FakeApi, settings: Settings, *, sweep: float = NEVER, dies_after: int | None = None
    ) -> None:
        self.api = api
        self.cluster = FakeCluster(api, dies_after)
        self.events = Memory(self.cluster)
        self.controller = Controller(StackReconciler, self.cluster, settings, NAMESPACE, sweep, self.events)
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._now = api.now

    async def __aenter__(self) -> Self:
        await self.controller.start()
        for obj in self.api.list_all(STACK)[0]:
            self.controller.seen(STACK, None, obj)
        self._unsubscribe = self.api.subscribe(self._heard)
        self._task = asyncio.create_task(self.controller.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task
        assert self._unsubscribe
        self._unsubscribe()
        self._task.cancel()
        (ended,) = await asyncio.gather(self._task, return_exceptions=True)
        if isinstance(ended, Exception) and error is None:
            raise AssertionError("the operator ended by itself") from ended

    async def ended(self) -> None:
        """Until it has ended by itself."""
        assert self._task
        await asyncio.wait([self._task])

    @property
    def dead(self) -> bool:
        return self.cluster.died.is_set()

    @property
    def ledger(self) -> Any:
        reconciler: Any = self.controller._reconciler
        return reconciler.ledger

    async def settled(self) -> None:
        """Until nothing waits, is worked on, will be retried or has a deadline that is due; or it is dead."""
        quiet, end = 0, monotonic() + 3
        while not self.dead and quiet < QUIET_TURNS:
            assert monotonic() < end, f"still at work: {self._queue_state()}"
            await asyncio.sleep(0)
            quiet = quiet + 1 if self._idle() else 0

    def _queue_state(self) -> str:
        work = self.controller._queue
        return f"waiting {list(work._waiting)}, active {work._active}, failed {work._failures}"

    def _idle(self) -> bool:
        work, due = self.controller._queue, self.controller._deadlines
        now = self._now()
        waiting = bool(work._waiting or work._active or work._failures)
        return not waiting and all(when > now for when in due._current.values())

    def _heard(self, event: Event) -> None:
        if event.kind == STACK and not self.cluster.deaf_to(event):
            self.controller.seen(STACK, event.change, event.obj)
