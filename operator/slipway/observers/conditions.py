"""Conditions as Kubernetes wants them: one for each type, with the time of its last change."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from slipway.api.meta import Condition, Status

MESSAGE_LENGTH = 2048  # as the CRD bounds it


@dataclass(frozen=True, slots=True)
class Observation:
    """A condition before it knows when it last changed."""

    type: str
    status: Literal["True", "False"]
    reason: str
    message: str


def conditions(
    previous: Status, generation: int, observations: Iterable[Observation], now: datetime
) -> list[Condition]:
    """The new conditions; an unchanged status keeps its transition time."""
    out = []
    for seen in observations:
        before = previous.condition(seen.type)
        changed = before is None or before.status != seen.status
        out.append(
            Condition(
                type=seen.type,
                status=seen.status,
                reason=seen.reason,
                message=seen.message[:MESSAGE_LENGTH],
                last_transition_time=now if before is None or changed else before.last_transition_time,
                observed_generation=generation,
            )
        )
    return out
