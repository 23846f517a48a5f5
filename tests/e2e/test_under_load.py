"""Many at once, over two gateways: limits hold, and what was answered stays."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import SETTINGS
from tests.support import pair, stacks
from tests.support.eventually import eventually
from tests.support.product import Product, rest

MINUTE = 60.0
FEW_PORTS = {"STACK_NODEPORT_MIN": "32700", "STACK_NODEPORT_MAX": "32703"}


@pytest.fixture(scope="module")
def pairs(product: Product) -> Iterator[Product]:
    with pair.running(product, SETTINGS):
        yield product


def codes(answers: list[pair.Answer]) -> Counter[int]:
    return Counter(code for code, _ in answers)


def test_twenty_creates_of_one_user_give_five(pairs: Product, users: Iterator[int]) -> None:
    user = next(users)
    answers = pair.post_all(pairs, (stacks.request(user, p) for p in range(1, 21)), 20)
    assert codes(answers) == {201: 5, 503: 15}
    assert {a["error"].split(":")[0] for c, a in answers if c == 503} == {f"user {user} has 5 stacks of at most 5"}
    kept = {a["stack_id"] for c, a in answers if c == 201}
    eventually(lambda: {s["metadata"]["uid"] for s in pair.stacks_of(pairs, [user])} == kept)
    eventually(lambda: len([n for n in stacks.names(pairs.cluster, "pods") if f"-{user}-" in n]) == 5)


def test_two_gateways_racing_for_one_pair(pairs: Product, users: Iterator[int]) -> None:
    user = next(users)
    answers = pair.post_all(pairs, (stacks.request(user) for _ in range(20)), 20)
    assert codes(answers) == {201: 1, 409: 19}
    assert len(pair.stacks_of(pairs, [user])) == 1


def test_sixty_at_thirty_two_at_once_and_none_is_lost_in_the_minute_after(pairs: Product, users: Iterator[int]) -> None:
    mine = [next(users) for _ in range(60)]
    answers = pair.post_all(pairs, (stacks.request(user, template=stacks.idle()) for user in mine), 32)
    assert codes(answers) == {201: 60}
    ports = {a["node_port"] for _, a in answers}
    assert len(ports) == 60
    ids, end = {a["stack_id"] for _, a in answers}, time.monotonic() + MINUTE
    while time.monotonic() < end:
        shown = {s["stack_id"]: s["status"] for s in rest("GET", f"{pairs.gateway}/stacks")[1]["stacks"]}
        assert ids <= shown.keys()
        assert {shown[i] for i in ids} <= {"creating", "running"}
        time.sleep(1)
    assert {shown[i] for i in ids} == {"running"}
    assert rest("GET", f"{pairs.url('gateway-2')}/stats")[1]["total_stacks"] >= 60


def test_the_port_range_is_used_up(product: Product, users: Iterator[int]) -> None:
    with pair.running(product, SETTINGS | FEW_PORTS):
        mine = [next(users) for _ in range(12)]
        answers = pair.post_all(product, (stacks.request(user, template=stacks.idle()) for user in mine), 12)
        assert codes(answers) == {201: 4, 503: 8}
        assert {a["node_port"] for c, a in answers if c == 201} == {32700, 32701, 32702, 32703}
        assert {a["error"] for c, a in answers if c == 503} == {"no node port of 32700-32703 is free"}
        eventually(lambda: len(pair.stacks_of(product, mine)) == 4)
        made = next(a for c, a in answers if c == 201)
        assert rest("DELETE", f"{product.gateway}/stacks/{made['stack_id']}")[0] == 200
        again = eventually(lambda: _made(product, next(users)))
        assert again["node_port"] == made["node_port"], "a port that came free is given again"


def _made(product: Product, user: int) -> stacks.Json | None:
    code, answer = stacks.post(product, stacks.request(user, template=stacks.idle()))
    return answer if code == 201 else None
