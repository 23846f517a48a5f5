"""Token buckets, and what is counted in them."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_gateway import limits
from api_gateway.limits import Buckets, Limits
from api_gateway.problems import Problem
from tests.support.objects import some_settings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_and_then_one_for_each_interval(clock: Clock) -> None:
    buckets = Buckets(rate=2, burst=3, clock=clock)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0]
    assert buckets.take("a") == pytest.approx(0.5)
    assert buckets.take("a") == pytest.approx(0.5), "asking in vain costs nothing"
    clock.now += 0.25
    assert buckets.take("a") == pytest.approx(0.25)
    clock.now += 0.25
    assert buckets.take("a") == 0
    assert buckets.take("a") == pytest.approx(0.5)
    clock.now += 100
    assert [buckets.take("a") for _ in range(4)][:3] == [0, 0, 0], "it is full again, and no fuller"
    assert buckets.take("a") > 0


def test_keys_do_not_share(clock: Clock) -> None:
    buckets = Buckets(rate=1, burst=1, clock=clock)
    assert [buckets.take(key) for key in ("a", "b", ("a",))] == [0, 0, 0]
    assert buckets.take("a") > 0


def test_full_buckets_are_forgotten(clock: Clock) -> None:
    buckets = Buckets(rate=1, burst=10, clock=clock)
    for number in range(1000):
        buckets.take(number)
    clock.now += 9
    for _ in range(5):
        buckets.take("slow")
    assert len(buckets) == 1001
    clock.now += 2
    buckets.take("new")
    assert len(buckets) == 2
    assert [buckets.take("slow") for _ in range(8)][-1] > 0, "one that is not full is kept"


@given(
    st.floats(0.01, 1000),
    st.integers(1, 400),
    st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_never_more_than_burst_and_rate(rate: float, burst: int, pauses: list[float]) -> None:
    clock = Clock()
    buckets = Buckets(rate, burst, clock)
    granted = 0
    for pause in pauses:
        clock.now += pause
        wait = buckets.take("a")
        granted += wait == 0
        assert wait <= 1 / rate * (1 + 1e-6) + 1e-6
    assert granted <= burst + rate * sum(pauses) + 1e-3


@given(st.floats(0.01, 1000), st.integers(1, 20))
def test_who_waits_as_long_as_is_said_is_served(rate: float, burst: int) -> None:
    clock = Clock()
    buckets = Buckets(rate, burst, clock)
    for _ in range(3 * burst):
        wait = buckets.take("a")
        if wait:
            clock.now += wait
            assert buckets.take("a") == 0


def refusal(problem: pytest.ExceptionInfo[Problem]) -> tuple[int, str]:
    return problem.value.status_code, problem.value.headers["Retry-After"]


def test_writes_of_one_client(clock: Clock) -> None:
    counted = Limits(some_settings(client_writes=2))
    counted.writes.clock = clock
    for _ in range(8):
        with counted.write("a"):
            pass
    with pytest.raises(Problem, match="Too Many") as problem, counted.write("a"):
        pass
    assert refusal(problem) == (429, "1")
    assert "2 writes a second" in problem.value.message
    with counted.write("b"):
        pass


def test_writes_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IN_FLIGHT", 3)
    counted = Limits(some_settings())
    with ExitStack() as under_way:
        for _ in range(3):
            under_way.enter_context(counted.write("a"))
        with pytest.raises(Problem) as problem, counted.write("a"):
            pass
        assert refusal(problem) == (429, "1")
        assert "3 of this client are under way" in problem.value.message
        with counted.write("b"):
            pass
    with counted.write("a"):
        pass
    assert not counted.in_flight, "nobody is remembered"


def test_a_write_that_fails_is_over() -> None:
    counted = Limits(some_settings())
    with pytest.raises(ZeroDivisionError), counted.write("a"):
        raise ZeroDivisionError
    assert not counted.in_flight


def test_starts_of_one_user(clock: Clock) -> None:
    counted = Limits(some_settings(stack_rate_per_user=2))
    counted.starts.clock = clock
    for _ in range(2):
        counted.start({"userId": 1})
    with pytest.raises(Problem) as problem:
        counted.start({"userId": 1})
    assert refusal(problem) == (429, "30")
    assert problem.value.message == (
        "user 1 starts and deletes too many stacks: at most 2 in a minute; try again in 30 s"
    )
    counted.start({"userId": 2})
    counted.start({"userId": 1, "tenant": "acme"})
    clock.now += 30
    counted.start({"userId": 1, "tenant": ""})
    with pytest.raises(Problem):
        counted.start({"userId": 1})
