"""Go-style durations."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.rules.durations import DURATION_PATTERN, MAX_SECONDS, parse_duration

GOOD = [
    ("2h", 7200.0),
    ("1h30m", 5400.0),
    ("90s", 90.0),
    ("500ms", 0.5),
    ("1.5h", 5400.0),
    ("0.1s", 0.1),
    ("0h0m1s", 1.0),
    ("2h0m0s", 7200.0),
    ("1m1ms", 60.001),
    ("1s1s", 2.0),
    ("0001s", 1.0),
    (f"{MAX_SECONDS}s", float(MAX_SECONDS)),
]
BAD = [
    "",
    "0",
    "0s",
    "0h0m",
    "0.0s",
    "2",
    "h",
    "2d",
    "1us",
    "2H",
    "-2h",
    "+2h",
    "2 h",
    " 2h",
    "2h\n",
    "1h30",
    ".5h",
    "5.h",
    "1e3s",
    "\u0662h",
]


@pytest.mark.parametrize(("text", "seconds"), GOOD)
def test_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert re.search(DURATION_PATTERN, text)


@pytest.mark.parametrize("text", BAD)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a duration"):
        parse_duration(text)
    assert not re.fullmatch(DURATION_PATTERN, text)


@pytest.mark.parametrize("text", [f"{MAX_SECONDS + 1}s", "9" * 64 + "h", "1s" * 33, None, 5, 5.0, True, b"2h"])
def test_out_of_bounds_or_no_text(text: Any) -> None:
    with pytest.raises(ValueError, match=r"^must be a duration"):
        parse_duration(text)


@settings(max_examples=100, deadline=None)
@given(st.text("0159.hms ", max_size=10))
def test_the_pattern_of_the_crd_agrees(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        assert not re.fullmatch(DURATION_PATTERN, text)
    else:
        assert seconds > 0
        assert re.fullmatch(DURATION_PATTERN, text)


def test_the_pattern_is_re2() -> None:
    """No look-around and no back-references, which the API server's regular expressions lack."""
    assert not re.search(r"\(\?|\\[0-9]", DURATION_PATTERN)
