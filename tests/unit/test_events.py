"""Events: their form, and what is told of a Stack."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from slipway.api.kinds import STACK
from slipway.api.meta import Condition, ObjectMeta
from slipway.api.stack import ENDED_POD, LOST, REFUSED, Reason, StackStatus
from slipway.builders import stack_events
from slipway.builders.event import Notice, build
from tests.support.objects import CREATED

ABOUT = ObjectMeta(name="stack-1-2", namespace="stacks", uid="uid-1-2", resource_version="7")
NOW = datetime(2026, 1, 1, 12, 0, 0, 123, tzinfo=UTC)


def notice(**given: Any) -> Notice:
    fields: dict[str, Any] = {"type": "Warning", "reason": "PodDeleted", "action": "Keep", "note": "gone", "once": (1,)}
    return Notice(**fields | given)


def name(told: Notice, about: ObjectMeta = ABOUT) -> str:
    made = build(STACK, about, told, NOW, "host")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", made["metadata"]["name"])
    assert len(made["metadata"]["name"]) <= 253
    return str(made["metadata"]["name"])


def test_an_event() -> None:
    made = build(STACK, ABOUT, notice(), NOW.astimezone(timezone(timedelta(hours=9))), "host-1")
    assert made == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name(notice()), "namespace": "stacks"},
        "regarding": {
            "apiVersion": "slipway.dev/v1alpha1",
            "kind": "Stack",
            "name": "stack-1-2",
            "namespace": "stacks",
            "uid": "uid-1-2",
            "resourceVersion": "7",
        },
        "type": "Warning",
        "reason": "PodDeleted",
        "action": "Keep",
        "note": "gone",
        "reportingController": "slipway.dev/operator",
        "reportingInstance": "host-1",
        "eventTime": "2026-01-01T12:00:00.000123Z",
    }


def test_the_same_told_twice_has_one_name() -> None:
    later = ABOUT.model_copy(update={"resource_version": "8"})
    assert name(notice(), later) == name(notice(note="other words"))
    others = [notice(once=(2,)), notice(once=(1, 1)), notice(reason="NodeDeleted")]
    anew = ABOUT.model_copy(update={"uid": "uid-again"})
    assert len({name(notice()), *map(name, others), name(notice(), anew)}) == 5


@pytest.mark.parametrize("long", ["a" * 253, "a" * 243 + "-" + "b" * 9, "a" * 242 + "." + "b" * 10])
def test_a_long_name_leaves_room(long: str) -> None:
    about = ABOUT.model_copy(update={"name": long})
    assert name(notice(), about) != name(notice(once=(2,)), about)


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, "x" * 1021 + "…"),
        ("é" * 512, "é" * 512),
        ("é" * 513, "é" * 510 + "…"),
        ("x" + "🛟" * 300, "x" + "🛟" * 255 + "…"),
        ("half \ud83d", "half ?"),
    ],
)
def test_a_note_has_1024_bytes_of_whole_characters(note: str, expected: str) -> None:
    made = build(STACK, ABOUT, notice(note=note), NOW, "host")["note"]
    assert made == expected
    assert len(made.encode()) <= 1024


def test_words_are_cut_to_what_is_allowed() -> None:
    made = build(STACK, ABOUT, notice(reason="R" * 200, action="A" * 200), NOW, "h" * 200)
    assert [len(made[key]) for key in ("reason", "action", "reportingInstance")] == [128] * 3


# what is told of a Stack


def status(reason: str = "", *, stalled: str = "", generation: int = 1, since: datetime = CREATED) -> StackStatus:
    """reason: of Ready, which is True where it is Running; stalled: that of Stalled."""
    said = {"message": "because", "last_transition_time": since, "observed_generation": generation}
    conditions = []
    if reason:
        ready = "True" if reason == Reason.RUNNING else "False"
        conditions.append(Condition(type="Ready", status=ready, reason=reason, **said))
    if stalled:
        conditions.append(Condition(type="Stalled", status="True", reason=stalled, **said))
    return StackStatus(conditions=conditions, pod_name="pod-1", node_name="node-1", node_port=30001)


def told(before: StackStatus, after: StackStatus) -> list[tuple[str, str]]:
    return [(n.type, n.reason) for n in stack_events.notices(before, after)]


NEW, STARTING, RUNNING = status(), status(Reason.STARTING), status(Reason.RUNNING)


@pytest.mark.parametrize("before", [NEW, STARTING, status("CrashLoopBackOff")])
def test_it_runs(before: StackStatus) -> None:
    (one,) = stack_events.notices(before, RUNNING)
    assert (one.type, one.reason) == ("Normal", "Running")
    assert one.note == "pod pod-1 is ready on node-1, node port 30001"


@pytest.mark.parametrize(
    ("before", "after"),
    [(NEW, STARTING), (NEW, status(Reason.SCHEDULING)), (RUNNING, RUNNING), (RUNNING, STARTING)],
)
def test_nothing_to_tell(before: StackStatus, after: StackStatus) -> None:
    assert told(before, after) == []


@pytest.mark.parametrize("reason", sorted(REFUSED | LOST | ENDED_POD | {Reason.EXPIRED}))
def test_it_is_stalled_once_in_a_generation(reason: Reason) -> None:
    after = status(reason, stalled=reason)
    kind = "Normal" if reason in (Reason.EXPIRED, Reason.POD_SUCCEEDED) else "Warning"
    assert told(RUNNING, after) == [(kind, reason)]
    assert told(after, after) == []
    assert told(after, status(reason, stalled=reason, generation=2)) == [(kind, reason)]


def test_a_refused_edit_of_a_stack_that_runs() -> None:
    held = status(Reason.RUNNING, stalled=Reason.POD_SPEC_INVALID, generation=2)
    assert told(RUNNING, held) == [("Warning", "PodSpecInvalid")]
    assert told(held, RUNNING) == []
    assert told(held, status(Reason.NODE_DELETED, stalled=Reason.NODE_DELETED)) == [("Warning", "NodeDeleted")]


def test_trouble_of_a_container_is_told_once_for_a_pod() -> None:
    pulling, crashing = status("ImagePullBackOff"), status("CrashLoopBackOff")
    assert told(STARTING, pulling) == [("Warning", "ImagePullBackOff")]
    assert told(pulling, pulling) == []
    assert told(pulling, crashing) == [("Warning", "CrashLoopBackOff")]
    again = status("CrashLoopBackOff", since=CREATED + timedelta(minutes=5))
    (first,), (second,) = stack_events.notices(STARTING, crashing), stack_events.notices(RUNNING, again)
    assert name(first) == name(second)
    (other,) = stack_events.notices(STARTING, crashing.model_copy(update={"pod_name": "pod-2"}))
    assert name(other) != name(first)


def test_to_run_again_is_another_thing_to_tell() -> None:
    later = status(Reason.RUNNING, since=CREATED + timedelta(seconds=1))
    (first,), (second,) = stack_events.notices(STARTING, RUNNING), stack_events.notices(STARTING, later)
    assert name(first) != name(second)


def test_a_stack_that_is_deleted_at_its_end() -> None:
    one = stack_events.expired(CREATED)
    assert (one.type, one.reason) == ("Normal", "Expired")
    assert name(one) == name(stack_events.expired(CREATED))
    assert name(one) != name(stack_events.expired(CREATED + timedelta(seconds=1)))


def test_every_reason_has_its_group() -> None:
    on_its_way = {Reason.RUNNING, Reason.SCHEDULING, Reason.STARTING}
    assert REFUSED | LOST | ENDED_POD | on_its_way | {Reason.EXPIRED} == set(Reason)
