"""Verdicts on a Stack: may it run, on which port, until when."""

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from slipway.api.meta import timestamp
from slipway.api.stack import ENDED_POD, Reason, Stack
from slipway.errors import InvalidInput, NotRenewable
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


@dataclass(frozen=True, slots=True)
class Life:
    """How long Stacks live, in seconds from their creation: those that do not say, and all of them at most."""

    default: float
    longest: float


def expires_at(created: datetime, ttl: str | None, life: Life) -> datetime:
    """End of a Stack's time."""
    return created + timedelta(seconds=min(parse_duration(ttl) if ttl else life.default, life.longest))


def renewed_ttl(stack: Stack, ttl: str | None, now: datetime, life: Life) -> str | None:
    """The `spec.ttl` with which a Stack lives for `ttl` from now on, in whole seconds; None: it lives longer as it is.

    Without a `ttl`: for the default, or as much of it as the longest life leaves. Raises NotRenewable, and
    InvalidInput for a `ttl` that is more than that.
    """
    created, longest = stack.metadata.creation_timestamp or now, int(life.longest)
    end, latest = expires_at(created, stack.spec.ttl, life), created + timedelta(seconds=longest)
    if now >= end or _ended(stack):
        raise NotRenewable("the stack has ended")
    if end >= latest:
        raise NotRenewable(f"the stack already lives as long as it may, until {timestamp(end)}")
    wanted = now + timedelta(seconds=parse_duration(ttl) if ttl else life.default)
    if ttl and wanted > latest:
        left = int((latest - now).total_seconds())
        raise InvalidInput("ttl", f"must be at most {left}s: the stack may live until {timestamp(latest)}")
    if wanted <= end:
        return None
    seconds = math.ceil((min(wanted, latest) - created).total_seconds())
    return f"{seconds}s"


def _ended(stack: Stack) -> bool:
    """Whether nothing runs any more that could live on. One whose bad edit was refused still runs its pod."""
    stalled = stack.status.stalled
    return stalled is not None and (stalled.reason in ENDED_POD or not stack.status.pod_name)


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
