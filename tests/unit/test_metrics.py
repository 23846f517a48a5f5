"""The operator's figures."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from slipway import metrics
from slipway.api.kinds import STACK
from slipway.api.stack import Reason
from slipway.builders.stack_record import state
from slipway.cache import ObjectCache
from slipway.errors import Conflict, NotFound, Unavailable
from slipway.reconcilers.ledger import Ledger
from slipway.reconcilers.queue import WorkQueue
from slipway.reconcilers.stack_metrics import measured
from slipway.rules.stack import Capacity
from tests.support.figures import Growth, figure
from tests.support.objects import a_stack, parsed, some_settings, stored, with_condition
from tests.support.until import until


class Waiting:
    """A queue with so many keys."""

    def __init__(self, waiting: int, active: int) -> None:
        self._waiting = waiting
        self.active = active

    def __len__(self) -> int:
        return self._waiting


def nothing() -> Iterator[Metric]:
    return iter(())


def families(*given: Metric) -> dict[str, float]:
    """`name` or `name{value}` of every sample."""
    samples = [sample for family in given for sample in family.samples]
    return {s.name + "".join(f"{{{value}}}" for value in s.labels.values()): s.value for s in samples}


def test_a_controller_is_seen_while_it_runs_and_the_one_that_came_last() -> None:
    assert figure("slipway_queue_depth", kind="Stack") is None
    with metrics.CONTROLLERS.shown(STACK, Waiting(3, 2), nothing):
        assert figure("slipway_queue_depth", kind="Stack") == 3
        assert figure("slipway_queue_active", kind="Stack") == 2
        with metrics.CONTROLLERS.shown(STACK, Waiting(5, 0), nothing):
            assert figure("slipway_queue_depth", kind="Stack") == 5
    assert figure("slipway_queue_depth", kind="Stack") is None


def test_a_controller_that_ends_late_hides_no_other() -> None:
    first = metrics.CONTROLLERS.shown(STACK, Waiting(1, 0), nothing)
    second = metrics.CONTROLLERS.shown(STACK, Waiting(2, 0), nothing)
    first.__enter__()
    with second:
        first.__exit__(None, None, None)
        assert figure("slipway_queue_depth", kind="Stack") == 2


def test_what_a_kind_has_of_its_own_is_read_at_each_scrape() -> None:
    values = iter((1.0, 2.0))
    own = lambda: [GaugeMetricFamily("own", "for this test", next(values))]  # noqa: E731
    with metrics.CONTROLLERS.shown(STACK, Waiting(0, 0), own):
        assert [figure("own"), figure("own")] == [1, 2]


def test_the_text_that_prometheus_reads() -> None:
    text = generate_latest(metrics.REGISTRY).decode()
    for reason in ("UserLimitReached", "PodSpecInvalid"):
        assert f'slipway_admission_refusals_total{{reason="{reason}"}}' in text
    assert "\nslipway_leader " in text
    assert "\nslipway_events_dropped_total " in text
    assert "\nprocess_resident_memory_bytes " in text


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, "success"),
        (Conflict("changed"), "conflict"),
        (NotFound("gone"), "conflict"),
        (Unavailable("down"), "error"),
        (KeyError("bug"), "error"),
    ],
)
async def test_the_queue_counts_how_reconciles_end(error: Exception | None, result: str) -> None:
    results = {r: Growth("slipway_reconcile_total", kind="Test", result=r) for r in ("success", "error", "conflict")}
    count = Growth("slipway_reconcile_seconds_count", kind="Test")
    waits = Growth("slipway_queue_wait_seconds_count", kind="Test")
    runs = 0

    async def reconcile(_: str) -> None:
        nonlocal runs
        runs += 1
        if error and runs == 1:
            raise error
        await asyncio.Event().wait()  # a second one never ends, and so counts nowhere

    async def succeed(_: str) -> None:
        return

    queue = WorkQueue(1, "Test")
    task = asyncio.create_task(queue.run(reconcile if error else succeed))
    queue.add("a")
    await until(count)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert {r: grown() for r, grown in results.items() if grown()} == {result: 1}
    assert count() == 1
    assert waits() >= 1


async def test_the_queue_measures_the_wait_and_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("slipway.reconcilers.queue.perf_counter", lambda: now)
    monkeypatch.setattr("slipway.metrics.perf_counter", lambda: now)
    waited = Growth("slipway_queue_wait_seconds_sum", kind="Timed")
    worked = Growth("slipway_reconcile_seconds_sum", kind="Timed")
    active = []

    async def reconcile(_: str) -> None:
        nonlocal now
        active.append((len(queue), queue.active))
        now += 3

    queue = WorkQueue(1, "Timed")
    queue.add("a")
    now += 2
    queue.add("a")  # it waits since before
    queue.add("b")
    task = asyncio.create_task(queue.run(reconcile))
    await until(lambda: worked() == 6)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert waited() == 2 + 3  # b waited for a's end
    assert active == [(1, 1), (0, 1)]


def test_the_manual_names_them_all_and_no_other() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (section,) = re.findall(r"^## Operator$(.*?)(?=^## |\Z)", manual, re.MULTILINE | re.DOTALL)
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bslipway_[a-z_]+", section)}
    with metrics.CONTROLLERS.shown(STACK, Waiting(0, 0), lambda: measured([], Ledger(some_settings()))):
        found = list(metrics.REGISTRY.collect())
    shown = {f.name + ("_total" if f.type == "counter" else "") for f in found if f.name.startswith("slipway_")}
    assert named == shown


# Stacks


@pytest.mark.parametrize("reason", [*Reason, "ImagePullBackOff", None])
def test_the_state_is_that_of_the_record(reason: str | None) -> None:
    plain = stored(with_condition(a_stack(), reason) if reason else a_stack())
    found = families(*measured([plain], Ledger(some_settings())))
    states = {name for name, value in found.items() if name.startswith("slipway_stacks") and value}
    assert states == {f"slipway_stacks{{{state(parsed(plain))}}}"}


def test_states_are_all_there_and_sum_up() -> None:
    stacks = [stored(with_condition(a_stack(1, n), Reason.RUNNING)) for n in range(3)]
    stacks += [stored(a_stack(2, 1)), stored(with_condition(a_stack(2, 2), Reason.NODE_DELETED))]
    found = families(*measured(stacks, Ledger(some_settings())))
    assert {name: value for name, value in found.items() if name.startswith("slipway_stacks")} == {
        "slipway_stacks{creating}": 1,
        "slipway_stacks{running}": 3,
        "slipway_stacks{stopped}": 0,
        "slipway_stacks{failed}": 0,
        "slipway_stacks{node_deleted}": 1,
    }


def test_what_stacks_hold() -> None:
    ledger = Ledger(some_settings(stack_nodeport_min=30000, stack_nodeport_max=30009))
    ledger.capacity = Capacity(8000, 16 * 2**30)
    for problem in (1, 2):
        ledger.admit(parsed(a_stack(1, problem)), Capacity(250, 2**28))
    ledger.release("uid-1-2")
    found = families(*measured([], ledger))
    assert {name: value for name, value in found.items() if not name.startswith("slipway_stacks")} == {
        "slipway_node_ports_used": 1,
        "slipway_node_ports_range": 10,
        "slipway_reserved_cpu_cores": 0.25,
        "slipway_reserved_memory_bytes": 2**28,
        "slipway_allocatable_cpu_cores": 8,
        "slipway_allocatable_memory_bytes": 16 * 2**30,
    }


def test_a_scrape_in_another_thread_while_stacks_come_and_go() -> None:
    cache, ledger, broken = ObjectCache(), Ledger(some_settings()), []
    ended = False

    def scrape() -> None:
        while not ended:
            try:
                list(measured(cache.snapshot(), ledger))
            except RuntimeError as error:
                broken.append(error)

    thread = Thread(target=scrape)
    thread.start()
    stacks = [stored(with_condition(a_stack(1, n), Reason.RUNNING)) for n in range(500)]
    for _ in range(20):
        for stack in stacks:
            cache.put(stack)
        cache.replace([], "2")
        cache._deleted.clear()
    ended = True
    thread.join()
    assert broken == []
