"""Items of the mirror, and how a table differs from what it should be."""

import subprocess
import sys
from typing import Any

import pytest

from slipway.api.meta import Object
from slipway.api.stack import Reason
from slipway.mirror import item
from slipway.mirror.changes import Change, Desired
from slipway.mirror.item import POD_SPEC_BYTES, build, digest
from tests.support.gateway import placed
from tests.support.objects import NAMESPACE, a_stack, stored, with_condition

NUMBERS = {
    "expires_at",
    "node_port",
    "problem_id",
    "requested_cpu_milli",
    "requested_memory_bytes",
    "target_port",
    "user_id",
}


def running(problem: int = 2, *, version: int = 1, **spec: Any) -> Object:
    return stored(placed(a_stack(1, problem, **spec)), version=version)


def test_an_item_is_the_record_with_its_types() -> None:
    made = build(running())
    pod = made.pop("pod_spec")["S"]
    assert "kind: Pod" in pod
    assert made == {
        "pk": {"S": "STACK#uid-1-2"},
        "sk": {"S": "stacks"},
        "stack_id": {"S": "uid-1-2"},
        "user_id": {"N": "1"},
        "problem_id": {"N": "2"},
        "pod_id": {"S": "stack-1-2-abc"},
        "namespace": {"S": "stacks"},
        "node_id": {"S": "node-1"},
        "target_port": {"N": "5000"},
        "node_port": {"N": "30001"},
        "service_name": {"S": "stack-1-2"},
        "status": {"S": "running"},
        "ttl_expires_at": {"S": "2026-01-01T14:00:00Z"},
        "created_at": {"S": "2026-01-01T12:00:00Z"},
        "updated_at": {"S": "2026-01-01T12:00:00Z"},
        "requested_cpu_milli": {"N": "500"},
        "requested_memory_bytes": {"N": "268435456"},
        "expires_at": {"N": "1767276000"},
    }


def test_what_is_not_known_yet_is_left_out() -> None:
    made = build(stored(a_stack()))
    assert made["status"] == {"S": "creating"}
    assert not made.keys() & {"pod_id", "node_id", "node_port", "service_name", "ttl_expires_at", "expires_at"}


@pytest.mark.parametrize("reason", [Reason.POD_SPEC_INVALID, Reason.EXPIRED, Reason.NODE_DELETED])
def test_every_stack_has_an_item(reason: Reason) -> None:
    template = {"spec": {"hostNetwork": True}}  # what is refused is shown as it was asked for
    made = build(stored(with_condition(a_stack(template=template), reason, stalled=True)))
    assert made["pod_spec"] == {"S": '{"spec": {"hostNetwork": true}}'}
    assert {name for name, value in made.items() if "N" in value} <= NUMBERS


def test_the_largest_numbers_stay_exact() -> None:
    made = build(stored(a_stack(2**53 - 1, 1)))
    assert made["user_id"] == {"N": "9007199254740991"}


def sized(length: int) -> Object:
    """A refused Stack whose pod_spec is of this many bytes."""
    empty = '{"x": ""}'
    return stored(a_stack(template={"x": "x" * (length - len(empty))}))


def test_a_pod_spec_that_just_fits() -> None:
    made = build(sized(POD_SPEC_BYTES))
    assert len(made["pod_spec"]["S"]) == POD_SPEC_BYTES
    assert "pod_spec_too_large" not in made


def test_one_that_does_not() -> None:
    made = build(sized(POD_SPEC_BYTES + 1))
    assert "pod_spec" not in made
    assert made["pod_spec_too_large"] == {"N": str(POD_SPEC_BYTES + 1)}


def test_digests() -> None:
    made = build(running())
    assert digest(dict(reversed(made.items()))) == digest(made)
    assert digest(made | {"node_port": {"N": "30002"}}) != digest(made)
    assert digest(made | {"mark": {"B": b"\0"}}) != digest(made), "whatever someone put there can be compared"


async def desired(*stacks: Object) -> Desired:
    made = Desired(NAMESPACE)
    await made.update(stacks)
    return made


def known(*stacks: Object) -> dict[str, bytes]:
    return {stack["metadata"]["uid"]: digest(build(stack)) for stack in stacks}


def told(changes: list[Change]) -> list[str]:
    return [f"{'put' if change.stack else 'delete'} {change.uid}" for change in changes]


async def test_the_difference() -> None:
    same, changed, new = running(1), running(2), running(3)
    old = changed | {"status": {"observedGeneration": -1}}
    table = known(same, old, running(4))
    assert told((await desired(same, changed, new)).changes(table)) == ["delete uid-1-4", "put uid-1-2", "put uid-1-3"]


async def test_none() -> None:
    assert (await desired(running(1))).changes(known(running(1))) == []
    assert (await desired()).changes({}) == []


async def test_an_item_whose_write_is_unsure() -> None:
    made = await desired(running(1))
    assert told(made.changes({"uid-1-1": b"", "uid-1-2": b""})) == ["delete uid-1-2", "put uid-1-1"]


async def test_only_new_versions_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    made = await desired(running(1), running(2))
    read: list[str] = []

    def noted(stack: Object) -> item.Item:
        read.append(stack["metadata"]["name"])
        return build(stack)

    monkeypatch.setattr(item, "build", noted)
    await made.update([running(1), running(2)])
    assert read == []
    await made.update([running(1), running(2, version=2), running(3)])
    assert read == ["stack-1-2", "stack-1-3"]


@pytest.mark.parametrize("metadata", [{"deletionTimestamp": "2026-01-01T13:00:00Z"}, {"namespace": "elsewhere"}])
async def test_what_is_not_ours_to_show(metadata: Object) -> None:
    stack = running(1)
    assert (await desired(stack | {"metadata": stack["metadata"] | metadata})).changes({}) == []


def test_boto3_is_loaded_only_for_a_table() -> None:
    loaded = "import sys, slipway.mirror.mirror; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
