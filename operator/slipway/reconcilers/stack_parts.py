"""The parts of a Stack: Service, NetworkPolicy and pod, made in this order."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from slipway.api.kinds import NETWORK_POLICY, POD, SERVICE, STACK, Kind
from slipway.api.meta import Object, ObjectMeta
from slipway.api.stack import Reason, Stack
from slipway.builders import stack as builder
from slipway.builders.stack import StackChildren
from slipway.cache import controller
from slipway.cluster import Cluster
from slipway.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    LimitRangeExceeded,
    NotFound,
    PortOutOfRange,
    PortTaken,
    QuotaExceeded,
    Rejected,
    Unavailable,
)
from slipway.reconcilers.children import Children
from slipway.reconcilers.ledger import Claim, Ledger
from slipway.rules import stack as rules
from slipway.rules.stack import Refusal

log = logging.getLogger(__name__)

PORT_TRIES = 20  # ports of strangers tried in one go before the queue backs off

CHILD_REFUSALS: tuple[tuple[type[ApiError], Reason], ...] = (
    (PortOutOfRange, Reason.NODE_PORTS_EXHAUSTED),
    (LimitRangeExceeded, Reason.LIMIT_RANGE_EXCEEDED),
    (QuotaExceeded, Reason.RESOURCE_QUOTA_EXCEEDED),
    (Rejected, Reason.REJECTED),
)
"""What the API server may say to a child, for good; the first class that fits decides."""


class StackParts:
    """Makes what is missing of a Stack, and puts right what differs."""

    def __init__(self, cluster: Cluster, children: Children, ledger: Ledger) -> None:
        self._cluster = cluster
        self._children = children
        self._ledger = ledger

    async def made(self, stack: Stack, claim: Claim, children: StackChildren) -> tuple[Object, Object] | None:
        """Service and pod; None while the pod of an earlier template is still going. Raises Refusal, ApiError.

        In this order: the Service records the admission, and no pod runs without its policy.
        """
        with _refusals():
            service = await self._service(stack, claim, children.service)
            await self._exclusive(stack, NETWORK_POLICY, children.network_policy)
            if not await self._earlier_pods_gone(stack, children.pod["metadata"]["name"]):
                return None
            return service, await self._children.labelled(POD, children.pod)

    async def _service(self, stack: Stack, claim: Claim, body: Object) -> Object:
        """The Service, on the claimed port or, where a stranger holds that one, on another."""
        for _ in range(PORT_TRIES):
            try:
                return await self._exclusive(stack, SERVICE, body)
            except PortTaken as taken:
                log.info("stack %s: %s", stack.metadata.name, taken)
                self._ledger.another_port(stack.metadata.uid)
                body = builder.build_service(stack, claim.port)
        raise Unavailable(f"{PORT_TRIES} node ports in a row belong to other Services")

    async def _exclusive(self, stack: Stack, kind: Kind, body: Object) -> Object:
        """A child whose name is the pair's. What a Stack left behind that is gone makes way for it."""
        try:
            return await self._children.kept(kind, body)
        except AlreadyExists:
            found = await self._cluster.get(kind, body["metadata"]["name"], stack.metadata.namespace)
            holder = controller(found)
            if holder is None or holder["kind"] != STACK.kind:
                text = f"{kind.singular} {body['metadata']['name']} exists, and is not Slipway's"
                raise Refusal(Reason.REJECTED, text) from None
            if await self._exists(stack.metadata.namespace, holder):
                rules.check_pair(stack, holder["uid"])
            await self._cluster.delete(kind, ObjectMeta.model_validate(found["metadata"]))
            raise Conflict(f"the {kind.singular} of an earlier stack was in the way") from None

    async def _exists(self, namespace: str, holder: Object) -> bool:
        """Whether an owner is alive, as the API server has it: the cache may lag."""
        try:
            found = await self._cluster.get(STACK, holder["name"], namespace)
        except NotFound:
            return False
        return bool(found["metadata"]["uid"] == holder["uid"])

    async def _earlier_pods_gone(self, stack: Stack, name: str) -> bool:
        """A Stack has one pod: those of earlier templates end before that of this one is made.

        So does one of this template's name that still goes from when it was the template before.
        """
        pods, uid = self._children.caches[POD], stack.metadata.uid
        await self._children.removed(uid, POD, keep={name})
        owned = pods.owned_by(uid)
        going = name in owned and "deletionTimestamp" in owned[name]["metadata"] and not stack.observed
        return not going and not owned.keys() - {name}


@contextmanager
def _refusals() -> Iterator[None]:
    """What the API server says to a child for good becomes the Stack's refusal."""
    try:
        yield
    except tuple(error for error, _ in CHILD_REFUSALS) as error:
        reason = next(reason for kind, reason in CHILD_REFUSALS if isinstance(error, kind))
        raise Refusal(reason, str(error)) from error
