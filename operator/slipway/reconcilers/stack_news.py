"""Tells of Stacks: to people as Events, to Prometheus as counts."""

from collections.abc import Iterable
from datetime import datetime

from slipway.api.kinds import STACK
from slipway.api.meta import Object, ObjectMeta
from slipway.api.stack import REFUSED, Stack, StackStatus
from slipway.builders import stack_events
from slipway.builders.event import Notice
from slipway.metrics import REFUSALS
from slipway.reconcilers.events import Recorder


class StackNews:
    """To be told what was written, once it is."""

    def __init__(self, events: Recorder) -> None:
        self._events = events

    def changed(self, stack: Stack, status: StackStatus, written: Object) -> None:
        """stack: as it was; status: the new one; written: the resource with it."""
        version = {"resource_version": written["metadata"]["resourceVersion"]}
        self._tell(stack.metadata.model_copy(update=version), stack_events.notices(stack.status, status))

    def expired(self, stack: Stack, expires_at: datetime) -> None:
        """It was deleted for it."""
        self._tell(stack.metadata, [stack_events.expired(expires_at)])

    def _tell(self, about: ObjectMeta, notices: Iterable[Notice]) -> None:
        for notice in notices:
            self._events.tell(STACK, about, notice)
            if notice.reason in REFUSED:
                REFUSALS.labels(notice.reason).inc()
