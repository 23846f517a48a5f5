"""Kubernetes quantities."""

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.rules.quantities import MAX_VALUE, cpu_milli, format_cpu, format_memory, memory_bytes

HUGE = 10**4000  # more digits than Python turns into a float


@pytest.mark.parametrize(
    ("text", "milli"),
    [
        ("500m", 500), ("1", 1000), ("0.5", 500), (".5", 500), ("2.", 2000), ("1500000u", 1500), ("1n", 1),
        ("1k", 10**6), ("1e3", 10**6), ("1E3", 10**6), ("1e-3", 1), ("1e-99", 1), ("0", 0), ("0.0001", 1), ("+1", 1000),
        (2, 2000), (0.1, 100), (1e-7, 1), (0, 0),
    ],
)  # fmt: skip
def test_cpu(text: Any, milli: int) -> None:
    assert cpu_milli(text) == milli


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256Mi", 2**28), ("1Ki", 1024), ("1.5Gi", 3 * 2**29), ("1Ti", 2**40), ("1Pi", 2**50), ("7Ei", 7 * 2**60),
        ("1k", 1000), ("1M", 10**6), ("1G", 10**9), ("1T", 10**12), ("1P", 10**15), ("1E", 10**18),
        ("128e6", 128 * 10**6), ("1.5", 2), ("256m", 1), ("0.5Ki", 512), (1024, 1024), (1e9, 10**9),
        (str(MAX_VALUE), MAX_VALUE), (MAX_VALUE, MAX_VALUE),
    ],
)  # fmt: skip
def test_memory(text: Any, size: int) -> None:
    assert memory_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "1 Gi", " 1", "1\n", "-1", "++1", "-0", "1KiB", "1K", "1ki", "1e", "1e1.5", "1e3Mi", "1_000", "0x10",
        ".", "e3", "m", "NaN", "inf", "nan", "\u0661", "1e100", "1e-100", "8Ei", "1e19", "9" * 30, "9" * 65, "0" * 65,
        -1, -0.5, 2**63, HUGE, 1e300, math.inf, -math.inf, math.nan, True, False, None, [], {}, b"1",
    ],
    ids=lambda text: repr(text)[:30],
)  # fmt: skip
def test_refused(text: Any) -> None:
    for read in (cpu_milli, memory_bytes):
        with pytest.raises(ValueError, match=r"^(must|is too large)"):
            read(text)


@pytest.mark.parametrize(
    ("milli", "text"),
    [(0, "0"), (1, "1m"), (1500, "1500m"), (2000, "2"), (10**6, "1k"), (1_001_000, "1001"), (10**21, "1E")],
)
def test_format_cpu(milli: int, text: str) -> None:
    assert format_cpu(milli) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1000, "1000"), (2**28, "256Mi"), (3 * 2**29, "1536Mi"), (2**70, "1024Ei")]
)
def test_format_memory(size: int, text: str) -> None:
    assert format_memory(size) == text


@pytest.mark.parametrize("write", [format_cpu, format_memory])
def test_negative_amounts_have_no_text(write: Any) -> None:
    with pytest.raises(ValueError, match="negative"):
        write(-1)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, MAX_VALUE))
def test_round_trips(amount: int) -> None:
    assert cpu_milli(format_cpu(amount)) == amount
    assert memory_bytes(format_memory(amount)) == amount


@settings(max_examples=100, deadline=None)
@given(st.text("0123456789.eEKMGinumk+-", max_size=12) | st.floats() | st.integers())
def test_a_number_or_a_value_error(text: Any) -> None:
    for read in (cpu_milli, memory_bytes):
        with contextlib.suppress(ValueError):
            assert 0 <= read(text) <= MAX_VALUE
