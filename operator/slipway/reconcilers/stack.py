"""Stack: from the resource to its children and its status, again and again until they agree."""

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from prometheus_client.core import Metric

from slipway.api.kinds import NETWORK_POLICY, NODE, POD, SERVICE, STACK, Kind
from slipway.api.meta import REQUEST, Object, ObjectMeta
from slipway.api.stack import LOST, Reason, Requested, Stack, StackStatus
from slipway.builders import stack as builder
from slipway.cache import ObjectCache, View, owner_uid, pod_view, whole
from slipway.cluster import Cluster
from slipway.errors import InvalidInput, NotFound
from slipway.observers import stack as observer
from slipway.reconcilers import stack_metrics
from slipway.reconcilers.children import Children
from slipway.reconcilers.deadlines import Deadlines
from slipway.reconcilers.events import Recorder
from slipway.reconcilers.ledger import Claim, Ledger
from slipway.reconcilers.stack_news import StackNews
from slipway.reconcilers.stack_parts import StackParts
from slipway.rules import stack as rules
from slipway.rules.pod_spec import NO_LIMITS, SanitizedPod, sanitize
from slipway.rules.stack import Capacity, Refusal
from slipway.settings import Settings

log = logging.getLogger(__name__)


class StackReconciler:
    """Brings one Stack at a time to where it should be. Everything it knows is in its caches and ledger."""

    kind: ClassVar[Kind] = STACK
    child_kinds: ClassVar[Mapping[Kind, View]] = {POD: pod_view, SERVICE: whole, NETWORK_POLICY: whole}

    def __init__(
        self,
        cluster: Cluster,
        settings: Settings,
        resources: ObjectCache,
        children: Children,
        deadlines: Deadlines,
        events: Recorder,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._limits = settings.pod_limits
        self._egress = [str(network) for network in settings.stack_egress_cidrs]
        self._stacks = resources
        self._children = children
        self._deadlines = deadlines
        self._nodes: set[str] = set()
        self._news = StackNews(events)
        self.ledger = Ledger(settings)
        self._parts = StackParts(cluster, children, self.ledger)

    async def refresh(self) -> list[str]:
        """Learn what the nodes have to give; returns the Stacks whose node is gone."""
        nodes, _ = await self._cluster.list(NODE)
        self.ledger.capacity = rules.allocatable(nodes)
        self._nodes = {node["metadata"]["name"] for node in nodes}
        placed = ((s["metadata"]["uid"], s.get("status", {}).get("nodeName")) for s in self._stacks)
        return [uid for uid, node in placed if node and node not in self._nodes]

    def measured(self) -> Iterable[Metric]:
        """Figures, read in another thread."""
        return stack_metrics.measured(self._stacks.snapshot(), self.ledger)

    def restore(self) -> None:
        """Give every Stack that already has its Service the claim that it was admitted with."""
        for resource in self._stacks:
            try:
                self._restore(Stack.model_validate(resource))
            except (Refusal, ValueError) as error:  # it is judged like a new one
                log.warning("cannot restore the claim of stack %s: %s", resource["metadata"]["name"], error)

    def _restore(self, stack: Stack) -> None:
        service = self._children.find(SERVICE, stack.metadata.uid, builder.pair_name(stack))
        port = service["spec"]["ports"][0].get("nodePort") if service else None  # none where someone edited its type
        if port and not _finished(stack):
            asked = stack.status.requested or self._sanitized(stack)
            self.ledger.take(stack, Capacity(asked.cpu_milli, asked.memory_bytes), port)

    async def reconcile(self, uid: str) -> None:
        """One step for one Stack. Raises ApiError when it must be tried again."""
        resource = self._stacks.get(uid)
        if resource is None or "deletionTimestamp" in resource["metadata"]:
            if resource:  # somebody's finalizer holds it: what it runs goes all the same
                await self._children.removed(uid)
            self.ledger.release(uid)
            self._deadlines.drop(uid)
            return
        stack = Stack.model_validate(resource)
        try:
            if datetime.now(UTC) >= self._expires_at(stack):
                await self._expire(stack)
            elif _finished(stack):
                await self._clear_away(stack)
            else:
                await self._run(stack)
        except Refusal as refusal:
            pod = self._children.find(POD, uid, stack.status.pod_name or "")
            if pod and refusal.reason == Reason.POD_SPEC_INVALID:
                await self._leave_alone(stack, pod, refusal)
            else:
                await self._end(stack, refusal.reason, str(refusal))

    async def _run(self, stack: Stack) -> None:
        uid = stack.metadata.uid
        pod = self._sanitized(stack)
        await self._check_whole(stack)
        claim = await self._admitted(stack, Capacity(pod.cpu_milli, pod.memory_bytes))
        parts = await self._parts.made(stack, claim, builder.build(stack, pod, claim.port, self._egress))
        if parts is None:
            return  # until the earlier pod's end, which is an event
        service, made = parts
        self._check_scheduled(made)
        if observer.decided(made):
            requested = Requested(cpu_milli=pod.cpu_milli, memory_bytes=pod.memory_bytes)
            now = datetime.now(UTC)
            status = observer.observe(stack, made, service, requested, self._expires_at(stack), now)
            await self._write_status(stack, status)
        end, scheduled = self._expires_at(stack), "nodeName" in made["spec"]
        self._deadlines.set(uid, end if scheduled else min(end, self._scheduled_by(made)))

    async def _admitted(self, stack: Stack, asked: Capacity) -> Claim:
        """Its claim, or Refusal. That is final: so the nodes are looked at once more before there is no room."""
        self.ledger.forget(lambda holder: self._stacks.get(holder) is None)
        try:
            return self.ledger.admit(stack, asked)
        except Refusal as refusal:
            if refusal.reason != Reason.CLUSTER_SATURATED:
                raise
            await self.refresh()
        return self.ledger.admit(stack, asked)

    async def _leave_alone(self, stack: Stack, pod: Object, refusal: Refusal) -> None:
        """A bad edit changes nothing of what runs, as a Deployment's would not."""
        expires_at = self._expires_at(stack)
        status = observer.held(stack, pod, refusal.reason, str(refusal), expires_at, datetime.now(UTC))
        await self._write_status(stack, status)
        self._deadlines.set(stack.metadata.uid, expires_at)

    def _sanitized(self, stack: Stack) -> SanitizedPod:
        """The pod, or Refusal. Limits that were lowered since do not end one that runs."""
        running = self._children.find(POD, stack.metadata.uid, builder.pod_name(stack))
        try:
            return sanitize(stack.spec.template, stack.spec.target_port, NO_LIMITS if running else self._limits)
        except InvalidInput as error:
            raise Refusal(Reason.POD_SPEC_INVALID, str(error)) from error

    async def _check_whole(self, stack: Stack) -> None:
        """A Stack that was complete once is not made again: players' state went with the part that is gone."""
        uid, status, pod_name = stack.metadata.uid, stack.status, builder.pod_name(stack)
        if not stack.observed or status.pod_name != pod_name or not status.node_name or not status.service_name:
            return
        pod = self._children.find(POD, uid, pod_name)
        if (pod is None or status.node_name not in self._nodes) and await self._node_gone(status.node_name):
            raise Refusal(Reason.NODE_DELETED, f"node {status.node_name} was deleted, and the pod with it")
        if pod is None:
            await self._delete_stray_pod(stack, pod_name)
            raise Refusal(Reason.POD_DELETED, f"pod {pod_name} was deleted, or lost its label or its owner")
        if not self._children.find(SERVICE, uid, status.service_name):
            lost = f"service {status.service_name} was deleted, or lost its label or its owner"
            raise Refusal(Reason.SERVICE_DELETED, lost)

    async def _delete_stray_pod(self, stack: Stack, name: str) -> None:
        """A pod that someone took our labels off is no longer seen, but runs."""
        try:
            pod = await self._cluster.get(POD, name, stack.metadata.namespace)
        except NotFound:
            return
        if owner_uid(pod) == stack.metadata.uid:
            await self._cluster.delete(POD, ObjectMeta.model_validate(pod["metadata"]))

    async def _node_gone(self, name: str) -> bool:
        try:
            await self._cluster.get(NODE, name)
        except NotFound:
            return True
        return False

    def _scheduled_by(self, pod: Object) -> datetime:
        created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
        return created + timedelta(seconds=self._settings.stack_scheduling_timeout)

    def _check_scheduled(self, pod: Object) -> None:
        if "nodeName" not in pod["spec"] and datetime.now(UTC) >= self._scheduled_by(pod):
            seconds = self._settings.stack_scheduling_timeout
            raise Refusal(Reason.SCHEDULING_TIMEOUT, f"no node took the pod within {seconds:g} s")

    def _expires_at(self, stack: Stack) -> datetime:
        created = stack.metadata.creation_timestamp or datetime.now(UTC)
        return rules.expires_at(created, stack.spec.ttl, self._settings.stack_life)

    async def _expire(self, stack: Stack) -> None:
        if stack.spec.on_expiry == "Delete":
            log.info("stack %s: its time is over, deleting it", stack.metadata.name)
            await self._cluster.delete(STACK, stack.metadata, unchanged=True)
            self._news.expired(stack, self._expires_at(stack))
        elif _finished(stack):
            await self._children.removed(stack.metadata.uid)
        else:
            await self._end(stack, Reason.EXPIRED, "its time is over; raise spec.ttl to run it again")

    async def _end(self, stack: Stack, reason: Reason, message: str) -> None:
        """Take away all it has, then say why, so that whoever reads it may count on it.

        What was lost is said first: taking the rest away would make it look like another loss after a crash.
        """
        now = datetime.now(UTC)
        status = observer.over(stack, reason, message, self._expires_at(stack), now)
        if reason not in LOST:
            await self._children.removed(stack.metadata.uid)
        self.ledger.release(stack.metadata.uid)
        await self._write_status(stack, status)

    async def _clear_away(self, stack: Stack) -> None:
        """What has ended holds nothing. What lost a part, or was refused over REST, goes at the next sweep."""
        uid, stalled = stack.metadata.uid, stack.status.stalled
        await self._children.removed(uid)
        self.ledger.release(uid)
        due = self._expires_at(stack)
        refused = REQUEST in stack.metadata.annotations and stalled and stalled.reason != Reason.EXPIRED
        if stalled and (stalled.reason in LOST or refused) and stack.spec.on_expiry == "Delete":
            sweep = timedelta(seconds=self._settings.stack_scheduler_interval)
            due = min(due, stalled.last_transition_time + sweep)
            if datetime.now(UTC) >= due:
                await self._cluster.delete(STACK, stack.metadata, unchanged=True)
                return
        self._deadlines.set(uid, due)

    async def _write_status(self, stack: Stack, status: StackStatus) -> None:
        before, after = stack.status.to_object(), status.to_object()
        if before != after:
            ready = status.condition("Ready")
            removed: Object = dict.fromkeys(before.keys() - after.keys())
            written = await self._cluster.patch_status(STACK, stack.metadata, removed | after)
            log.info("stack %s: %s", stack.metadata.name, f"{ready.reason}: {ready.message}" if ready else "no status")
            self._stacks.put(written)
            self._news.changed(stack, status, written)


def _finished(stack: Stack) -> bool:
    """It was refused, lost a part, or its time is over, so that it holds nothing; and the spec is still the same."""
    return stack.observed and stack.status.stalled is not None and not stack.status.pod_name
