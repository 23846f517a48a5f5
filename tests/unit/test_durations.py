"""Go-style durations."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.api.stack import StackSpec
from slipway.rules.durations import MAX_SECONDS, parse_duration

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


@pytest.mark.parametrize("text", BAD)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", [f"{MAX_SECONDS + 1}s", "9" * 64 + "h", "1s" * 33, None, 5, 5.0, True, b"2h"])
def test_out_of_bounds_or_no_text(text: Any) -> None:
    with pytest.raises(ValueError, match=r"^must be a duration"):
        parse_duration(text)


@settings(max_examples=200, deadline=None)
@given(st.text("0159hms", max_size=7))
def test_what_the_crd_lets_through_is_read_or_zero(text: str) -> None:
    (ttl,) = (option for option in StackSpec.model_json_schema()["properties"]["ttl"]["anyOf"] if "pattern" in option)
    if re.fullmatch(ttl["pattern"], text) and re.search("[1-9]", text):
        assert parse_duration(text) > 0
