"""How long a Stack lives, and how much longer it may."""

from datetime import timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from api_gateway.wire.stacks import RenewStack
from slipway.api.stack import ENDED_POD, LOST, Reason
from slipway.errors import InvalidInput, NotRenewable
from slipway.rules.durations import parse_duration
from slipway.rules.stack import Life, expires_at, renewed_ttl
from tests.support.objects import CREATED, a_stack, parsed, with_condition

LIFE = Life(default=7200, longest=86400)

# spec.ttl, what is asked for, when (seconds after creation), the new spec.ttl
RENEWALS: list[tuple[str | None, str | None, float, str | None]] = [
    (None, None, 1800, "9000s"),
    (None, "2h", 1800, "9000s"),
    (None, "1h", 1800, None),  # it lives longer as it is
    (None, "90m", 1800, None),  # exactly as long
    (None, "5401s", 1800, "7201s"),
    (None, None, 0, None),
    (None, None, 0.001, "7201s"),
    ("1h", None, 0, "7200s"),
    ("1h", "30m", 2700, "4500s"),
    ("1h", "1ms", 10, None),
    ("1h", "1h", 0.25, "3601s"),
    ("90s500ms", "90s", 1, "91s"),
    ("23h30m", None, 82800, "86400s"),  # as much as is left
    ("23h30m", "1h", 82800, "86400s"),
    ("23h30m", "1h", 82799.5, "86400s"),
    ("23h59m59s999ms", None, 86399.5, "86400s"),
    ("1h", "24h", 0, "86400s"),
]


@pytest.mark.parametrize(("ttl", "asked", "after", "expected"), RENEWALS)
def test_renewals(ttl: str | None, asked: str | None, after: float, expected: str | None) -> None:
    given: dict[str, Any] = {"ttl": ttl} if ttl else {}
    assert renewed_ttl(parsed(a_stack(**given)), asked, CREATED + timedelta(seconds=after), LIFE) == expected


@pytest.mark.parametrize(
    ("ttl", "asked", "after", "left"),
    [("23h30m", "61m", 82800, 3600), ("1h", "24h1s", 0, 86400), ("1h", "24h", 0.5, 86399), ("1h", "720h", 60, 86340)],
)
def test_more_than_the_longest_life_leaves(ttl: str, asked: str, after: float, left: int) -> None:
    with pytest.raises(InvalidInput) as refusal:
        renewed_ttl(parsed(a_stack(ttl=ttl)), asked, CREATED + timedelta(seconds=after), LIFE)
    assert str(refusal.value) == f"ttl: must be at most {left}s: the stack may live until 2026-01-02T12:00:00Z"


@pytest.mark.parametrize("asked", [None, "1s", "2h", "100h"])
@pytest.mark.parametrize(
    ("ttl", "after", "life", "why"),
    [
        (None, 7200, LIFE, "ended"),
        ("1h", 3600, LIFE, "ended"),
        ("1h", 9999, LIFE, "ended"),
        ("20h", 7200, Life(60, 3600), "ended"),  # the maximum was lowered since
        ("24h", 60, LIFE, "until 2026-01-02T12:00:00Z"),
        ("30h", 60, LIFE, "until 2026-01-02T12:00:00Z"),
        (None, 60, Life(7200, 7200), "until 2026-01-01T14:00:00Z"),
        (None, 60, Life(90.5, 90.5), "until 2026-01-01T12:01:30Z"),
    ],
)
def test_not_renewable(asked: str | None, ttl: str | None, after: float, life: Life, why: str) -> None:
    given: dict[str, Any] = {"ttl": ttl} if ttl else {}
    with pytest.raises(NotRenewable, match=why):
        renewed_ttl(parsed(a_stack(**given)), asked, CREATED + timedelta(seconds=after), life)


def in_state(reason: Reason, *, stalled: bool = True, **status: Any) -> Any:
    return parsed(with_condition(a_stack(), reason, stalled=stalled, **status))


@pytest.mark.parametrize("reason", [r for r in Reason if r not in ENDED_POD])
def test_what_holds_nothing_any_more_has_ended(reason: Reason) -> None:
    """Refused, expired and kept, or a part of it is lost: a new end would bring it back to life."""
    with pytest.raises(NotRenewable, match="ended"):
        renewed_ttl(in_state(reason), None, CREATED + timedelta(seconds=60), LIFE)


@pytest.mark.parametrize("reason", sorted(ENDED_POD))
def test_a_pod_that_has_run_to_its_end(reason: Reason) -> None:
    with pytest.raises(NotRenewable, match="ended"):
        renewed_ttl(in_state(reason, podName="stack-1-2"), None, CREATED + timedelta(seconds=60), LIFE)


def test_a_pod_that_goes_on_though_an_edit_was_refused() -> None:
    stack = in_state(Reason.POD_SPEC_INVALID, podName="stack-1-2")
    assert renewed_ttl(stack, None, CREATED + timedelta(seconds=60), LIFE) == "7260s"


@pytest.mark.parametrize("reason", [Reason.SCHEDULING, Reason.STARTING, Reason.RUNNING])
def test_one_that_runs_or_will(reason: Reason) -> None:
    assert reason not in LOST
    assert renewed_ttl(in_state(reason, stalled=False), None, CREATED + timedelta(seconds=60), LIFE) == "7260s"


SECONDS = st.integers(1, 200_000).map(lambda ms: f"{ms}s") | st.integers(1, 200_000_000).map(lambda ms: f"{ms}ms")


@hypothesis.given(
    ttl=st.none() | SECONDS,
    asked=st.none() | SECONDS,
    after=st.floats(0, 100_000),
    default=st.floats(1, 90_000),
    more=st.floats(0, 90_000),
)
def test_never_earlier_never_beyond(
    ttl: str | None, asked: str | None, after: float, default: float, more: float
) -> None:
    given: dict[str, Any] = {"ttl": ttl} if ttl else {}
    stack = parsed(a_stack(**given))
    life, now = Life(default, default + more), CREATED + timedelta(seconds=after)
    before = expires_at(CREATED, ttl, life)
    try:
        new = renewed_ttl(stack, asked, now, life)
    except (NotRenewable, InvalidInput):
        return
    wanted = now + timedelta(seconds=parse_duration(asked) if asked else default)
    if new is None:
        assert before >= wanted
        return
    end = expires_at(CREATED, new, life)
    assert before < end <= CREATED + timedelta(seconds=life.longest)
    assert end >= min(wanted, CREATED + timedelta(seconds=int(life.longest)))
    assert new == f"{int(parse_duration(new))}s"


def test_the_body_has_a_default_and_no_null() -> None:
    assert RenewStack().ttl == ""
    assert RenewStack.model_validate({"ttl": "1h30m"}).ttl == "1h30m"
