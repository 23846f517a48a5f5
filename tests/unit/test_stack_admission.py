"""Who may run: the rules one by one, then the ledger that remembers what they granted."""

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from slipway.api.stack import Reason
from slipway.reconcilers import ledger as ledger_module
from slipway.reconcilers.ledger import Ledger
from slipway.rules.stack import (
    Capacity,
    Life,
    Refusal,
    allocatable,
    check_capacity,
    check_pair,
    check_user_limit,
    choose_port,
    expires_at,
)
from tests.support.objects import CREATED, a_node, a_stack, parsed, some_settings

STACK = parsed(a_stack())
SMALL = Capacity(100, 2**20)


def test_allocatable_counts_nodes_that_take_pods() -> None:
    nodes = [
        a_node("a", "2", "4Gi"),
        a_node("b", "1500m", "1Gi"),
        a_node("cordoned", cordoned=True),
        a_node("lost", ready=False),
        a_node("control-plane", taint="NoSchedule"),
        a_node("draining", taint="NoExecute"),
        a_node("spare", "500m", "1Gi", taint="PreferNoSchedule"),
        {"metadata": {"name": "new"}},
    ]
    assert allocatable(nodes) == Capacity(4000, 6 * 2**30)
    assert allocatable([]) == Capacity(0, 0)


WHOLE = Capacity(1000, 1000)


@pytest.mark.parametrize(
    ("asked", "reserved", "fits"),
    [
        (Capacity(800, 800), Capacity(0, 0), True),
        (Capacity(801, 1), Capacity(0, 0), False),
        (Capacity(1, 801), Capacity(0, 0), False),
        (Capacity(300, 300), Capacity(500, 500), True),
        (Capacity(301, 300), Capacity(500, 500), False),
        (Capacity(300, 301), Capacity(500, 500), False),
    ],
)
def test_a_fifth_of_the_nodes_is_left(asked: Capacity, reserved: Capacity, fits: bool) -> None:
    if fits:
        check_capacity(asked, reserved, WHOLE, 0.2)
    else:
        with pytest.raises(Refusal) as refusal:
            check_capacity(asked, reserved, WHOLE, 0.2)
        assert refusal.value.reason == Reason.CLUSTER_SATURATED


def test_no_reserve_means_the_last_byte() -> None:
    check_capacity(WHOLE, Capacity(0, 0), WHOLE, 0)
    check_capacity(Capacity(1, 1), Capacity(999, 999), WHOLE, 0.0)


@pytest.mark.parametrize(("running", "limit", "fits"), [(0, 1, True), (4, 5, True), (5, 5, False), (6, 5, False)])
def test_user_limit(running: int, limit: int, fits: bool) -> None:
    if fits:
        check_user_limit(STACK, running, limit)
    else:
        with pytest.raises(Refusal, match="user 1 has") as refusal:
            check_user_limit(STACK, running, limit)
        assert refusal.value.reason == Reason.USER_LIMIT_REACHED


def test_pair() -> None:
    check_pair(STACK, None)
    check_pair(STACK, STACK.metadata.uid)
    with pytest.raises(Refusal, match="user 1 already has a stack for problem 2") as refusal:
        check_pair(STACK, "another")
    assert refusal.value.reason == Reason.ALREADY_EXISTS


def test_choose_port_finds_the_last_free_one() -> None:
    rng = random.Random(1)
    taken = set(range(30000, 30100)) - {30042}
    assert {choose_port(30000, 30099, taken, rng) for _ in range(20)} == {30042}
    assert {choose_port(30000, 30002, (), rng) for _ in range(200)} == {30000, 30001, 30002}
    with pytest.raises(Refusal, match="30000-30099") as refusal:
        choose_port(30000, 30099, taken | {30042}, rng)
    assert refusal.value.reason == Reason.NODE_PORTS_EXHAUSTED


def test_expires_at() -> None:
    life = Life(default=60, longest=3600)
    assert expires_at(CREATED, None, life) == CREATED + timedelta(minutes=1)
    assert expires_at(CREATED, "30m", life) == CREATED + timedelta(minutes=30)
    assert expires_at(CREATED, "1h30m", life) == CREATED + timedelta(hours=1)


def a_ledger(**given: Any) -> Ledger:
    ledger = Ledger(some_settings(**given))
    ledger.capacity = Capacity(100_000, 2**40)
    return ledger


def stack(user: int = 1, problem: int = 2, uid: str = "") -> Any:
    resource = a_stack(user, problem)
    resource["metadata"]["uid"] = uid or f"{user}-{problem}"
    return parsed(resource)


def reason(ledger: Ledger, *args: Any) -> Reason:
    with pytest.raises(Refusal) as refusal:
        ledger.admit(*args)
    return refusal.value.reason


def test_admission_is_granted_once() -> None:
    ledger = a_ledger(stack_max_per_user=1)
    claim = ledger.admit(stack(), SMALL)
    assert ledger.admit(stack(), SMALL) is claim
    assert (claim.user, claim.problem_id, claim.asked) == (("", 1), 2, SMALL)
    assert 30000 <= claim.port <= 32767


def test_what_is_refused_holds_nothing() -> None:
    ledger = a_ledger(stack_max_per_user=1, stack_nodeport_min=30000, stack_nodeport_max=30000)
    ledger.admit(stack(1, 1), SMALL)
    assert reason(ledger, stack(1, 1, "twin"), SMALL) == Reason.ALREADY_EXISTS
    assert reason(ledger, stack(1, 2), SMALL) == Reason.USER_LIMIT_REACHED
    assert reason(ledger, stack(2, 1), Capacity(10**9, 1)) == Reason.CLUSTER_SATURATED
    assert reason(ledger, stack(2, 1), SMALL) == Reason.NODE_PORTS_EXHAUSTED
    ledger.release("1-1")
    assert ledger.admit(stack(2, 1), SMALL).port == 30000


def test_capacity_counts_what_others_hold_and_comes_back() -> None:
    ledger = a_ledger(stack_resource_reserve_ratio=0.5)
    ledger.capacity = Capacity(400, 2**30)
    ledger.admit(stack(1, 1), SMALL)
    ledger.admit(stack(1, 2), SMALL)
    assert reason(ledger, stack(1, 3), SMALL) == Reason.CLUSTER_SATURATED
    ledger.release("1-1")
    ledger.admit(stack(1, 3), SMALL)


def test_no_nodes_no_room() -> None:
    ledger = Ledger(some_settings())
    assert reason(ledger, stack(), SMALL) == Reason.CLUSTER_SATURATED


def test_more_of_the_same_is_admitted_anew_on_the_same_port() -> None:
    ledger = a_ledger(stack_max_per_user=1, stack_resource_reserve_ratio=0)
    ledger.capacity = Capacity(250, 2**30)
    port = ledger.admit(stack(), SMALL).port
    larger = ledger.admit(stack(), Capacity(250, 2**20))  # its own share is counted once
    assert (larger.port, larger.asked.cpu_milli) == (port, 250)
    assert reason(ledger, stack(), Capacity(251, 2**20)) == Reason.CLUSTER_SATURATED
    assert ledger.admit(stack(), SMALL).port == port


def test_another_port_leaves_the_old_one_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(ledger_module, "monotonic", lambda: now)
    ledger = a_ledger(stack_nodeport_min=30000, stack_nodeport_max=30001, stack_port_lock_ttl=30)
    first = ledger.admit(stack(), SMALL).port
    second = ledger.another_port("1-2")
    assert {first, second} == {30000, 30001}
    assert ledger.admit(stack(), SMALL).port == second
    assert reason(ledger, stack(2, 2), SMALL) == Reason.NODE_PORTS_EXHAUSTED
    now += 29.9
    assert reason(ledger, stack(2, 2), SMALL) == Reason.NODE_PORTS_EXHAUSTED
    now += 0.2
    assert ledger.admit(stack(2, 2), SMALL).port == first


def test_no_other_port_keeps_the_books_straight() -> None:
    ledger = a_ledger(stack_nodeport_min=30000, stack_nodeport_max=30000)
    ledger.admit(stack(), SMALL)
    with pytest.raises(Refusal):
        ledger.another_port("1-2")
    check_books(ledger)


def test_release_is_idempotent() -> None:
    ledger = a_ledger()
    ledger.release("nobody")
    ledger.admit(stack(), SMALL)
    for _ in range(2):
        ledger.release("1-2")
    check_books(ledger)
    assert ledger._claims == {}


def check_books(ledger: Ledger) -> None:
    """Every total is the sum of the claims, and no port or pair is given twice."""
    claims = ledger._claims
    assert ledger._reserved == sum((c.asked for c in claims.values()), Capacity(0, 0))
    assert ledger._ports == {c.port: uid for uid, c in claims.items()}
    assert ledger._pairs == {(c.user, c.problem_id): uid for uid, c in claims.items()}
    users = [c.user for c in claims.values()]
    assert ledger._users == {user: users.count(user) for user in set(users)}
    assert len({c.port for c in claims.values()}) == len(claims)
    assert len(ledger._pairs) == len(claims)


class Admission(RuleBasedStateMachine):
    """Any sequence of admissions, releases and port changes, among few users, problems and ports."""

    LIMIT = 2

    def __init__(self) -> None:
        super().__init__()
        self.ledger = a_ledger(
            stack_max_per_user=self.LIMIT,
            stack_nodeport_min=30000,
            stack_nodeport_max=30004,
            stack_resource_reserve_ratio=0.5,
            stack_port_lock_ttl=0.000_001,
        )
        self.ledger.capacity = Capacity(1000, 1000)

    @rule(user=st.integers(1, 3), problem=st.integers(1, 3), twin=st.booleans(), cpu=st.integers(1, 300))
    def admit(self, user: int, problem: int, twin: bool, cpu: int) -> None:
        uid = f"{user}-{problem}" + ("-twin" if twin else "")
        before = dict(self.ledger._claims)
        try:
            claim = self.ledger.admit(stack(user, problem, uid), Capacity(cpu, 1))
        except Refusal:
            assert self.ledger._claims == before
            return
        assert self.ledger._claims[uid] is claim
        assert claim.asked == Capacity(cpu, 1)

    @rule(user=st.integers(1, 3), problem=st.integers(1, 3), twin=st.booleans())
    def release(self, user: int, problem: int, twin: bool) -> None:
        uid = f"{user}-{problem}" + ("-twin" if twin else "")
        self.ledger.release(uid)
        assert uid not in self.ledger._claims

    @rule(data=st.data())
    def another_port(self, data: st.DataObject) -> None:
        if self.ledger._claims:
            uid = data.draw(st.sampled_from(sorted(self.ledger._claims)))
            before = self.ledger._claims[uid].port
            try:
                assert self.ledger.another_port(uid) != before
            except Refusal:
                assert self.ledger._claims[uid].port == before

    @invariant()
    def books(self) -> None:
        check_books(self.ledger)
        assert all(count <= self.LIMIT for count in self.ledger._users.values())
        assert self.ledger._reserved.within(self.ledger.capacity, 0.5)
        assert all(30000 <= port <= 30004 for port in self.ledger._ports)


TestAdmission = Admission.TestCase
TestAdmission.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
