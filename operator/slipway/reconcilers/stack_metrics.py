"""Stacks in figures: how many in which state, and what they hold."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client.core import GaugeMetricFamily, Metric

from slipway.api.meta import Object
from slipway.builders.stack_record import State, state_of
from slipway.reconcilers.ledger import Ledger
from slipway.rules.stack import Capacity


def measured(stacks: Iterable[Object], ledger: Ledger) -> Iterator[Metric]:
    """Read in another thread than the one that reconciles: single values, no views of what changes."""
    yield _states(stacks)
    used, whole = ledger.ports
    yield GaugeMetricFamily("slipway_node_ports_used", "Node ports that Stacks hold", used)
    yield GaugeMetricFamily("slipway_node_ports_range", "Node ports that there are for Stacks", whole)
    yield from _capacity("slipway_reserved", "of admitted Stacks", ledger.reserved)
    yield from _capacity("slipway_allocatable", "of the nodes that take pods", ledger.capacity)


def _states(stacks: Iterable[Object]) -> Metric:
    counts = Counter(state_of(_reason(stack)) for stack in stacks)
    family = GaugeMetricFamily("slipway_stacks", "Stacks by state", labels=["state"])
    for state in get_args(State):
        family.add_metric([state], counts[state])
    return family


def _reason(stack: Object) -> str | None:
    """Of Ready. Read from the plain data: a thousand Stacks take a millisecond, parsed ones sixteen."""
    conditions = stack.get("status", {}).get("conditions", [])
    return next((c["reason"] for c in conditions if c["type"] == "Ready"), None)


def _capacity(name: str, whose: str, amount: Capacity) -> Iterator[Metric]:
    yield GaugeMetricFamily(f"{name}_cpu_cores", f"CPU {whose}", amount.cpu_milli / 1000)
    yield GaugeMetricFamily(f"{name}_memory_bytes", f"Memory {whose}", amount.memory_bytes)
