"""Two operators and two gateways, of which some die, sleep, or lose the API server."""

import json
import signal
import time
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import SETTINGS
from tests.support import pair, stacks
from tests.support.eventually import eventually
from tests.support.product import Product, rest
from tests.support.stacks import NAMESPACE

PATIENT = SETTINGS | {"STACK_SCHEDULING_TIMEOUT": "20s", "SLIPWAY_LEASE_DURATION": "5s"}
"""A create may outlast a change of leader."""

TAKEOVER_SECONDS = 15.0


@pytest.fixture
def pairs(product: Product) -> Iterator[Product]:
    with pair.running(product, PATIENT):
        yield product


def whole(product: Product, mine: list[int], answers: list[pair.Answer]) -> None:
    """Every 201 is there with one pod and one Service, and of everything else nothing is left."""
    made = {a["stack_id"] for code, a in answers if code == 201}
    eventually(lambda: {s["metadata"]["uid"] for s in pair.stacks_of(product, mine)} == made, 90)
    for kind in ("pods", "services", "networkpolicies"):
        eventually(lambda kind=kind: _owners(product, kind) == made)  # type: ignore[misc]  # mypy knows no defaults here
    shown = {s["stack_id"]: s["status"] for s in rest("GET", f"{product.url('gateway-2')}/stacks")[1]["stacks"]}
    assert made == shown.keys()
    assert set(shown.values()) <= {"creating", "running"}


def test_the_leader_is_killed_in_the_middle_of_sixty_creates(pairs: Product, users: Iterator[int]) -> None:
    mine = [next(users) for _ in range(60)]
    dead = pair.leader(pairs)
    killed = []

    def midway() -> None:
        pair.kill(pairs, dead)
        killed.append(time.monotonic())
        eventually(lambda: pair.leads(pairs, pair.other(pair.OPERATORS, dead)))
        killed.append(time.monotonic())

    bodies = (stacks.request(user, template=stacks.idle()) for user in mine)
    answers = pair.post_all(pairs, bodies, 32, midway=midway)
    assert {code for code, _ in answers} == {201}, [a for a in answers if a[0] != 201]
    assert killed[1] - killed[0] < TAKEOVER_SECONDS
    whole(pairs, mine, answers)


def test_a_leader_that_slept_longer_than_its_lease_does_no_harm(pairs: Product, users: Iterator[int]) -> None:
    """User limit 5, two users with twelve requests each; the leader is stopped in between, and wakes later."""
    mine = [next(users), next(users)]
    asleep = pair.leader(pairs)
    awake = pair.other(pair.OPERATORS, asleep)
    pair.send(pairs, asleep, signal.SIGSTOP)
    try:
        bodies = [stacks.request(user, p, stacks.idle()) for p in range(1, 13) for user in mine]
        answers = pair.post_all(pairs, bodies, 24)
        assert pair.leads(pairs, awake)
    finally:
        pair.send(pairs, asleep, signal.SIGCONT)
    assert sorted(code for code, _ in answers) == [201] * 10 + [503] * 14
    eventually(lambda: not pair.leads(pairs, asleep))
    whole(pairs, mine, answers)
    later = next(users)
    mine.append(later)
    answers += pair.post_all(pairs, [stacks.request(later, p, stacks.idle()) for p in range(1, 8)], 7)
    assert sorted(code for code, _ in answers[-7:]) == [201] * 5 + [503] * 2
    whole(pairs, mine, answers)
    assert pair.leader(pairs) == awake, "the one that slept stands by"


def test_a_leader_that_is_told_to_stop_hands_over_at_once(pairs: Product, users: Iterator[int]) -> None:
    mine = [next(users) for _ in range(20)]
    leaving = pair.leader(pairs)
    bodies = (stacks.request(user, template=stacks.idle()) for user in mine)
    answers = pair.post_all(pairs, bodies, 10, midway=lambda: pairs.stop(leaving))
    assert {code for code, _ in answers} == {201}
    assert pair.leads(pairs, pair.other(pair.OPERATORS, leaving))
    assert "giving" not in pairs.log(leaving).read_text()
    whole(pairs, mine, answers)


def test_a_gateway_that_is_told_to_stop_answers_what_it_took(pairs: Product, users: Iterator[int]) -> None:
    mine = [next(users) for _ in range(20)]
    bodies = [stacks.request(user, template=stacks.idle()) for user in mine]
    answers = pair.post_all(pairs, bodies, 20, midway=lambda: pairs.stop("gateway-2", 30))
    assert {code for code, _ in answers} <= {201, 0}, "answered, or not taken"
    pairs.spawn("gateway-2", PATIENT)
    pairs.wait_ready("gateway-2")
    whole(pairs, mine, answers)


def test_the_api_server_restarts_in_the_middle(pairs: Product, users: Iterator[int]) -> None:
    if pairs.cluster.kind == "given":
        pytest.skip("the API server of a given cluster is not ours to restart")
    mine = [next(users) for _ in range(30)]
    bodies = (stacks.request(user, template=stacks.idle()) for user in mine)
    answers = pair.post_all(pairs, bodies, 16, midway=lambda: pairs.cluster.restart("kube-apiserver", grace_s=0))
    assert {code for code, _ in answers} <= {201, 503}
    whole(pairs, mine, answers)
    after = [next(users) for _ in range(8)]
    answers = pair.post_all(pairs, (stacks.request(user, template=stacks.idle()) for user in after), 8)
    assert {code for code, _ in answers} == {201}


def test_a_deleted_node_ends_its_stacks(product: Product, users: Iterator[int]) -> None:
    cluster, user, name = product.cluster, next(users), "hollow-e2e"
    real = cluster.kubectl("get", "nodes", "-o", "name").split()
    cluster.kubectl(
        "create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    )
    try:
        room = {"cpu": "4", "memory": "8Gi", "pods": "100"}
        now = cluster.kubectl("get", "node", name, "-o", "jsonpath={.metadata.creationTimestamp}")
        ready = {"type": "Ready", "status": "True", "reason": "E2E", "message": "", "lastHeartbeatTime": now}
        status = {"allocatable": room, "capacity": room, "conditions": [ready | {"lastTransitionTime": now}]}
        patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        cluster.kubectl("patch", "node", name, *patch)
        eventually(lambda: not cluster.kubectl("get", "node", name, "-o", "jsonpath={.spec.taints}"))
        cluster.kubectl("cordon", *real)
        stacks.create(cluster, stacks.resource(user, name="on-a-node", onExpiry="Keep"))
        eventually(lambda: stacks.get(cluster, "on-a-node")["status"].get("nodeName") == name)
        uid = stacks.get(cluster, "on-a-node")["metadata"]["uid"]
    finally:
        cluster.kubectl("delete", "node", name)
        cluster.kubectl("uncordon", *real)
    stack = stacks.wait_for(cluster, "on-a-node", "Stalled")
    assert stacks.reason(stack, "Stalled")[1] == "NodeDeleted"
    assert rest("GET", f"{product.gateway}/stacks/{uid}/status")[1]["status"] == "node_deleted"


def test_time_was_over_while_all_was_down(product: Product, users: Iterator[int]) -> None:
    user, cluster = next(users), product.cluster
    stacks.create(cluster, stacks.resource(user, ttl="4s"), stacks.resource(user, 2, ttl="1h"))
    stacks.wait_for(cluster, f"stack-{user}-2", "Ready")
    for name in ("operator", "gateway"):
        product.stop(name)
    end = json.loads(cluster.kubectl("get", "stack", "-n", NAMESPACE, f"stack-{user}-2", "-o", "json"))
    created = end["metadata"]["creationTimestamp"]
    eventually(lambda: time.time() > _epoch(created) + 5)
    product.up(SETTINGS)
    eventually(lambda: [s["metadata"]["name"] for s in pair.stacks_of(product, [user])] == [f"stack-{user}-2"])


def _epoch(stamp: str) -> float:
    return time.mktime(time.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone


def _owners(product: Product, kind: str) -> set[str]:
    """UIDs of the Stacks that have children of a kind, or {} while one has two, or one is going."""
    found = json.loads(product.cluster.kubectl("get", kind, "-n", NAMESPACE, "-l", "slipway.dev/uid", "-o", "json"))
    owners = [o["metadata"]["labels"]["slipway.dev/uid"] for o in found["items"]]
    going = any("deletionTimestamp" in o["metadata"] for o in found["items"])
    return set() if going or len(set(owners)) < len(owners) else set(owners)
