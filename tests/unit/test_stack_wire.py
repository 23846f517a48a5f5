"""Stacks as REST shows them."""

from typing import Any

import pytest
import yaml

from api_gateway.wire.stacks import CreateStack, stats, status_view
from slipway.api.stack import Reason
from slipway.builders.stack_record import record, state
from slipway.rules.pod_spec import sanitize
from slipway.rules.pod_yaml import parse_pod
from tests.support.bad_pods import BAD_PODS
from tests.support.gateway import ask, placed
from tests.support.objects import LIMITS, a_stack, parsed, with_condition
from tests.support.pods import TARGET_PORT, good_template

STATES = {
    Reason.RUNNING: "running",
    Reason.SCHEDULING: "creating",
    Reason.STARTING: "creating",
    Reason.POD_SUCCEEDED: "stopped",
    Reason.EXPIRED: "stopped",
    Reason.NODE_DELETED: "node_deleted",
    Reason.POD_FAILED: "failed",
    Reason.POD_DELETED: "failed",
    Reason.SERVICE_DELETED: "failed",
    Reason.POD_SPEC_INVALID: "failed",
    Reason.LIMIT_RANGE_EXCEEDED: "failed",
    Reason.ALREADY_EXISTS: "failed",
    Reason.USER_LIMIT_REACHED: "failed",
    Reason.NODE_PORTS_EXHAUSTED: "failed",
    Reason.CLUSTER_SATURATED: "failed",
    Reason.RESOURCE_QUOTA_EXCEEDED: "failed",
    Reason.SCHEDULING_TIMEOUT: "failed",
    Reason.REJECTED: "failed",
}


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_state(reason: Reason) -> None:
    assert state(parsed(with_condition(a_stack(), reason))) == STATES[reason]


@pytest.mark.parametrize("reason", ["CrashLoopBackOff", "ImagePullBackOff", "SomethingNew"])
def test_reasons_of_kubernetes(reason: str) -> None:
    assert state(parsed(with_condition(a_stack(), reason))) == "failed"


def test_not_judged_yet() -> None:
    assert state(parsed(a_stack())) == "creating"


def test_times_are_rfc_3339_in_utc() -> None:
    shown = record(parsed(placed(a_stack()))).model_dump(mode="json")
    assert shown["created_at"] == "2026-01-01T12:00:00Z"
    assert shown["ttl_expires_at"] == "2026-01-01T14:00:00Z"
    assert status_view(parsed(placed(a_stack()))).model_dump(mode="json")["ttl"] == "2026-01-01T14:00:00Z"


def test_updated_is_the_last_change() -> None:
    stack = placed(a_stack())
    stack["status"]["conditions"].append(
        {"type": "X", "status": "True", "reason": "Y", "lastTransitionTime": "2026-01-01T13:30:00Z"}
    )
    shown = record(parsed(stack)).model_dump(mode="json")
    assert shown["updated_at"] == "2026-01-01T13:30:00Z"


def test_the_pod_shown_is_accepted_when_it_is_sent_again_without_what_is_ours() -> None:
    shown = yaml.safe_load(record(parsed(a_stack())).pod_spec)
    assert (shown["kind"], shown["apiVersion"]) == ("Pod", "v1")
    assert "ownerReferences" not in shown["metadata"]
    assert "&id" not in record(parsed(a_stack())).pod_spec, "no aliases"


def test_a_refused_pod_is_shown_as_it_was_asked_for() -> None:
    bad = BAD_PODS[0].template
    assert yaml.safe_load(record(parsed(a_stack(template=bad))).pod_spec) == bad


def test_the_resource_is_what_was_asked_for() -> None:
    body = CreateStack.model_validate(ask(7, 8))
    pod = body.pod(LIMITS)
    resource = body.resource(pod)
    assert resource["metadata"]["name"] == "stack-7-8"
    spec = resource["spec"]
    assert (spec["userId"], spec["problemId"], spec["targetPort"]) == (7, 8, TARGET_PORT)
    again = sanitize(spec["template"], TARGET_PORT, LIMITS)
    assert again == sanitize(parse_pod(body.pod_spec), TARGET_PORT, LIMITS), "the operator judges it the same"
    assert again == pod


def made(user: int, reason: Reason, **status: Any) -> Any:
    ready = "True" if reason == Reason.RUNNING else "False"
    return parsed(with_condition(a_stack(user), reason, ready=ready, **status))


def test_stats() -> None:
    requested = {"cpuMilli": 500, "memoryBytes": 1000}
    stacks = [
        made(1, Reason.RUNNING, nodeName="a", nodePort=30000, requested=requested),
        made(2, Reason.STARTING, nodeName="a", nodePort=30001, requested=requested),
        made(3, Reason.RUNNING, nodeName="b", nodePort=30002, requested=requested),
        made(4, Reason.POD_FAILED, nodeName="b", nodePort=30003, requested=requested),
        made(5, Reason.POD_SPEC_INVALID),
        parsed(a_stack(6)),
    ]
    assert stats(stacks).model_dump() == {
        "total_stacks": 6,
        "active_stacks": 4,
        "node_distribution": {"a": 2, "b": 1},
        "used_node_ports": 4,
        "reserved_cpu_milli": 2000,
        "reserved_memory_bytes": 4000,
    }
    assert stats([]).total_stacks == 0


def test_a_template_is_the_default_one() -> None:
    assert parsed(a_stack()).spec.template == good_template()
