"""A small Kubernetes API server in memory: versions, watches, preconditions, node ports, owners, refusals.

kmock's own emulation keeps objects as they are sent: no uid, no resourceVersion (its lists say "..."), no generation,
no conflict, no preconditions, and 409 has another reason. Our caches, statuses and adoptions are made of these, so the
state is kept here, and kmock serves it (tests/support/fake_http.py).
"""

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from slipway.api.kinds import POD, SERVICE, STACK, Kind
from slipway.api.meta import Object
from tests.support import api_answers
from tests.support.api_answers import Answer

LOWEST_PORT, HIGHEST_PORT = 30000, 32767


@dataclass(frozen=True, slots=True)
class Event:
    """One change, as a watch tells it."""

    kind: Kind
    change: str
    obj: Object

    @property
    def version(self) -> int:
        return int(self.obj["metadata"]["resourceVersion"])


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a client that was let through."""

    verb: str
    kind: str
    name: str


@dataclass(slots=True)
class Rule:
    """Refuses calls until it has done so `times` times."""

    verb: str
    kind: Kind
    answer: Answer
    times: int


class FakeApi:
    """Objects by kind and name, in one namespace. Methods raise `Answer` where the server would refuse."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self._objects: dict[tuple[Kind, str], Object] = {}
        self._rules: list[Rule] = []
        self._listeners: list[Callable[[Event], None]] = []
        self._watches: list[asyncio.Queue[Event | None]] = []
        self.revision = 100
        self.oldest = 0  # a watch from before is told 410
        self.events: list[Event] = []
        self.writes: list[Write] = []
        self.lists = 0  # answered
        self.gets = 0
        self.node: str | None = "node-1"
        """Where new pods are placed, at once; None: nowhere."""
        self.starts = True
        """Whether pods become ready once they are placed."""
        self.collects = True
        """Whether what has lost its owner is removed by itself."""
        self.graceful = False
        """Whether a deleted pod stays until `finish`."""

    # what a client calls

    def get(self, kind: Kind, name: str) -> Object:
        self._admit("get", kind)
        self.gets += 1
        return copy.deepcopy(self._found(kind, name))

    def list_all(self, kind: Kind, labels: str = "") -> tuple[list[Object], str]:
        self._admit("list", kind)
        self.lists += 1
        found = [o for (k, _), o in sorted(self._objects.items(), key=lambda e: e[0][1]) if k == kind]
        return copy.deepcopy([o for o in found if matches(o, labels)]), str(self.revision)

    def create(self, kind: Kind, body: Object) -> Object:
        self._admit("create", kind)
        name = body["metadata"]["name"]
        if (kind, name) in self._objects:
            raise Answer(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
        return self._add(kind, copy.deepcopy(body))

    def update(self, kind: Kind, body: Object) -> Object:
        """Replace the version that `body` was read from."""
        self._admit("update", kind)
        before = self._found(kind, body["metadata"]["name"])
        if any(body["metadata"].get(key) != before["metadata"][key] for key in ("uid", "resourceVersion")):
            raise api_answers.MODIFIED
        self._check_ports(kind, body)
        return self._change(kind, copy.deepcopy(body))

    def patch(self, kind: Kind, name: str, uid: str, patch: Object) -> Object:
        """A merge patch of the object with that UID, and of that version if it names one."""
        self._admit("patch", kind)
        before = self._found(kind, name)
        if uid != before["metadata"]["uid"]:
            raise api_answers.OTHER_UID
        if (
            patch.get("metadata", {}).get("resourceVersion", before["metadata"]["resourceVersion"])
            != (before["metadata"]["resourceVersion"])
        ):
            raise api_answers.MODIFIED
        return self._change(kind, merged(before, patch))

    def patch_status(self, kind: Kind, name: str, patch: Object) -> Object:
        """A merge patch of the subresource: the rest of the object stays."""
        self._admit("patch_status", kind)
        before = self._found(kind, name)
        if patch["metadata"].get("resourceVersion", "") != before["metadata"]["resourceVersion"]:
            raise api_answers.MODIFIED
        return self._change(kind, before | {"status": merged(before.get("status", {}), patch["status"])})

    def delete(self, kind: Kind, name: str, uid: str = "", version: str = "") -> None:
        self._admit("delete", kind)
        found = self._found(kind, name)
        if uid and uid != found["metadata"]["uid"]:
            raise api_answers.OTHER_UID
        if version and version != found["metadata"]["resourceVersion"]:
            raise api_answers.MODIFIED
        self.remove(kind, name)

    # what others do to the cluster

    def put(self, kind: Kind, body: Object) -> Object:
        """Someone creates an object."""
        return self._add(kind, copy.deepcopy(body))

    def edit(self, kind: Kind, name: str, change: Callable[[Object], None]) -> Object:
        """Someone edits an object: `change` does it in place. A changed spec is a new generation."""
        after = copy.deepcopy(self._found(kind, name))
        change(after)
        return self._change(kind, after)

    def remove(self, kind: Kind, name: str) -> None:
        """Someone deletes an object."""
        found = self._found(kind, name)
        if kind == POD and self.graceful:
            if "deletionTimestamp" not in found["metadata"]:
                self._change(kind, found | {"metadata": found["metadata"] | {"deletionTimestamp": self._time()}})
            return
        self.finish(kind, name)

    def finish(self, kind: Kind, name: str) -> None:
        """An object goes, now."""
        gone = self._objects.pop((kind, name))
        self._emit(kind, "DELETED", gone)
        if self.collects:
            self.collect()

    def collect(self) -> None:
        """The garbage collector: what is owned by nothing that exists goes."""
        present = {o["metadata"]["uid"] for o in self._objects.values()}
        for (kind, name), obj in list(self._objects.items()):
            owners = obj["metadata"].get("ownerReferences", [])
            if owners and (kind, name) in self._objects and not any(o["uid"] in present for o in owners):
                self.remove(kind, name)

    def place(self, pod: str, node: str) -> None:
        """The scheduler finds a node."""

        def bind(obj: Object) -> None:
            obj["spec"]["nodeName"] = node
            obj["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]

        self.edit(POD, pod, bind)

    def start(self, pod: str) -> None:
        """The kubelet has started every container, and they are ready."""
        ready = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]
        self.edit(POD, pod, lambda obj: obj["status"].update(phase="Running", conditions=ready))

    def refuse(self, verb: str, kind: Kind, answer: Answer, times: int = 1_000_000) -> None:
        """From now on, calls of one kind fail. verb: create, update, patch_status, delete, get, list, watch."""
        self._rules.append(Rule(verb, kind, answer, times))

    def admit_all(self) -> None:
        self._rules.clear()

    # what tests look at

    def find(self, kind: Kind, name: str) -> Object | None:
        found = self._objects.get((kind, name))
        return copy.deepcopy(found) if found else None

    def names(self, kind: Kind) -> list[str]:
        return sorted(name for k, name in self._objects if k == kind)

    def the(self, kind: Kind) -> Object:
        """The only object of its kind."""
        (name,) = self.names(kind)
        return copy.deepcopy(self._objects[kind, name])

    def changes(self, kind: Kind, change: str) -> int:
        return sum(e.kind == kind and e.change == change for e in self.events)

    def write_counts(self) -> Counter[str]:
        return Counter(f"{w.verb} {w.kind}" for w in self.writes)

    # watches

    def check_watch(self, kind: Kind, version: int) -> None:
        """Whether a watch may begin at `version`."""
        self._admit("watch", kind)
        if version < self.oldest:
            raise api_answers.EXPIRED

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Tell every change to `listener`, a turn of the loop later. Returns how to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def watch(self, kind: Kind, version: int) -> AsyncIterator[Event]:
        """Changes since `version`, until `end_watches`."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        for event in self.events:
            if event.version > version:
                queue.put_nowait(event)
        self._watches.append(queue)
        try:
            while heard := await queue.get():
                if heard.kind == kind:
                    yield heard
        finally:
            if queue in self._watches:
                self._watches.remove(queue)

    @property
    def watching(self) -> int:
        """Open watches."""
        return len(self._watches)

    def silence(self) -> "list[asyncio.Queue[Event | None]]":
        """Open watches tell nothing from here on. None, put into one of those returned, ends it."""
        silenced, self._watches = self._watches, []
        return silenced

    def end_watches(self) -> None:
        for queue in self._watches:
            queue.put_nowait(None)
        self._watches.clear()

    # the rest is the server's own

    def _admit(self, verb: str, kind: Kind) -> None:
        for rule in self._rules:
            if (rule.verb, rule.kind) == (verb, kind) and rule.times:
                rule.times -= 1
                raise rule.answer

    def _found(self, kind: Kind, name: str) -> Object:
        if (kind, name) not in self._objects:
            raise Answer(404, "NotFound", f'{kind.plural} "{name}" not found')
        return self._objects[kind, name]

    def _time(self) -> str:
        return self.now().isoformat().replace("+00:00", "Z")

    def _add(self, kind: Kind, body: Object) -> Object:
        self._check_ports(kind, body)
        given = {"uid": f"uid-{self.revision + 1}", "creationTimestamp": self._time(), "generation": 1}
        body["metadata"] = given | body["metadata"]
        if kind == STACK:
            body = {"status": {"observedGeneration": -1}} | body
        if kind == SERVICE:
            body["spec"] = {"clusterIP": "10.96.0.7", "sessionAffinity": "None"} | body["spec"]
        if kind == POD:
            body["status"] = {"phase": "Pending"}
        self._objects[kind, body["metadata"]["name"]] = body
        self._emit(kind, "ADDED", body)
        if kind == POD:
            asyncio.get_running_loop().call_soon(self._run_pod, body["metadata"]["name"])
        return copy.deepcopy(body)

    def _run_pod(self, name: str) -> None:
        if self.node and (POD, name) in self._objects:
            self.place(name, self.node)
            if self.starts:
                self.start(name)

    def _change(self, kind: Kind, after: Object) -> Object:
        before = self._found(kind, after["metadata"]["name"])
        if after == before:  # a write that changes nothing is no event
            return copy.deepcopy(before)
        if kind == STACK and after["spec"] != before["spec"]:
            after["metadata"] = after["metadata"] | {"generation": before["metadata"]["generation"] + 1}
        self._objects[kind, after["metadata"]["name"]] = after
        self._emit(kind, "MODIFIED", after)
        return copy.deepcopy(after)

    def _emit(self, kind: Kind, change: str, obj: Object) -> None:
        self.revision += 1
        obj["metadata"] = obj["metadata"] | {"resourceVersion": str(self.revision)}
        event = Event(kind, change, copy.deepcopy(obj))
        self.events.append(event)
        for queue in self._watches:
            queue.put_nowait(event)
        for listener in self._listeners:
            asyncio.get_running_loop().call_soon(listener, event)

    def _check_ports(self, kind: Kind, body: Object) -> None:
        if kind != SERVICE:
            return
        asked = [p["nodePort"] for p in body["spec"]["ports"] if "nodePort" in p]
        if len(set(asked)) < len(asked):
            raise api_answers.PORT_TWICE
        others = [o for (k, name), o in self._objects.items() if k == SERVICE and name != body["metadata"]["name"]]
        taken = {p.get("nodePort") for o in others for p in o["spec"]["ports"]}
        for port in asked:
            if not LOWEST_PORT <= port <= HIGHEST_PORT:
                raise api_answers.PORT_OUT_OF_RANGE
            if port in taken:
                raise api_answers.PORT_ALLOCATED


def matches(obj: Object, labels: str) -> bool:
    """Whether a `key=value` selector picks the object."""
    key, _, value = labels.partition("=")
    return not labels or obj["metadata"].get("labels", {}).get(key) == value


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out
