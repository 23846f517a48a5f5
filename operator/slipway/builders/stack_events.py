"""What to tell people about a Stack, from one status to the next."""

from collections.abc import Iterator
from datetime import datetime

from slipway.api.meta import Condition, timestamp
from slipway.api.stack import ENDED_POD, LOST, REFUSED, Reason, StackStatus
from slipway.builders.event import Notice

OURS = frozenset(Reason)
"""Any other reason is a container's own: ImagePullBackOff, CrashLoopBackOff, …"""

GOOD = frozenset({Reason.EXPIRED, Reason.POD_SUCCEEDED})
"""Ends that everybody hopes for."""


def notices(before: StackStatus, after: StackStatus) -> Iterator[Notice]:
    """What has become so; nothing where only details changed."""
    was, ready = before.condition("Ready"), after.condition("Ready")
    if ready and ready.status == "True" and not (was and was.status == "True"):
        where = f"pod {after.pod_name} is ready on {after.node_name}, node port {after.node_port}"
        yield Notice("Normal", Reason.RUNNING, "Start", where, _since(ready))
    if ready and ready.reason not in OURS and not (was and was.reason == ready.reason):
        yield Notice("Warning", ready.reason, "Start", ready.message, (after.pod_name,))  # once for each pod
    known, stalled = before.stalled, after.stalled
    if stalled and not (known and _same(known, stalled)):
        yield _stalled(stalled)


def expired(expires_at: datetime) -> Notice:
    """Of a Stack that is deleted for it."""
    return Notice("Normal", Reason.EXPIRED, "Expire", "its time is over, it is deleted", (timestamp(expires_at),))


def _stalled(condition: Condition) -> Notice:
    reason = condition.reason
    return Notice(
        "Normal" if reason in GOOD else "Warning", reason, _action(reason), condition.message, _since(condition)
    )


def _action(reason: str) -> str:
    if reason in REFUSED:
        return "Admit"
    if reason in LOST:
        return "Keep"
    return "Run" if reason in ENDED_POD else "Expire"


def _same(known: Condition, condition: Condition) -> bool:
    return (known.reason, known.observed_generation) == (condition.reason, condition.observed_generation)


def _since(condition: Condition) -> tuple[str | int | None, ...]:
    return timestamp(condition.last_transition_time), condition.observed_generation
