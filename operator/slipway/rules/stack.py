"""Verdicts on a Stack: may it run, on which port, until when."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from slipway.api.stack import Reason, Stack
from slipway.rules.durations import parse_duration
from slipway.rules.quantities import cpu_milli, memory_bytes


class Refusal(Exception):
    """The Stack may not run. reason: for programs; `str(refusal)`: for people."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Capacity:
    """CPU in thousandths and memory in bytes: of nodes, or asked for."""

    cpu_milli: int
    memory_bytes: int

    def __add__(self, other: "Capacity") -> "Capacity":
        return Capacity(self.cpu_milli + other.cpu_milli, self.memory_bytes + other.memory_bytes)

    def within(self, whole: "Capacity", share: float) -> bool:
        return self.cpu_milli <= whole.cpu_milli * share and self.memory_bytes <= whole.memory_bytes * share


def expires_at(created: datetime, ttl: str | None, default_ttl: float) -> datetime:
    """End of a Stack's time. default_ttl: seconds."""
    return created + timedelta(seconds=parse_duration(ttl) if ttl else default_ttl)


def allocatable(nodes: Iterable[Mapping[str, Any]]) -> Capacity:
    """What the nodes that take new pods have to give, all together."""
    total = Capacity(0, 0)
    for node in nodes:
        conditions, spec = node.get("status", {}).get("conditions", []), node.get("spec", {})
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        tainted = any(t["effect"] != "PreferNoSchedule" for t in spec.get("taints", []))  # stacks tolerate nothing
        if ready and not tainted and not spec.get("unschedulable"):
            given = node["status"].get("allocatable", {})
            total += Capacity(cpu_milli(given.get("cpu", "0")), memory_bytes(given.get("memory", "0")))
    return total


def check_pair(stack: Stack, holder: str | None) -> None:
    """One Stack for each (user, problem). holder: UID of the one that has the pair."""
    if holder not in (None, stack.metadata.uid):
        spec = stack.spec
        raise Refusal(Reason.ALREADY_EXISTS, f"user {spec.user_id} already has a stack for problem {spec.problem_id}")


def check_user_limit(stack: Stack, running: int, limit: int) -> None:
    """running: stacks the user has beside this one."""
    if running >= limit:
        raise Refusal(
            Reason.USER_LIMIT_REACHED,
            f"user {stack.spec.user_id} has {running} stacks of at most {limit}: delete one first",
        )


def check_capacity(asked: Capacity, reserved: Capacity, whole: Capacity, reserve_ratio: float) -> None:
    """reserved: by the other stacks; whole: of the nodes; reserve_ratio: share of it that stacks may not take."""
    if not (asked + reserved).within(whole, 1 - reserve_ratio):
        raise Refusal(
            Reason.CLUSTER_SATURATED, "the cluster has no room for another stack: try again when others have ended"
        )


def choose_port(low: int, high: int, taken: Container[int], random: Random) -> int:
    """A free port of low..high, both included; random, so that two gateways or leaders seldom try the same."""
    span = high - low + 1
    start = random.randrange(span)
    for offset in range(span):
        port = low + (start + offset) % span
        if port not in taken:
            return port
    raise Refusal(Reason.NODE_PORTS_EXHAUSTED, f"no node port of {low}-{high} is free")
