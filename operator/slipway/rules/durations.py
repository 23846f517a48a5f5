"""Durations as Go and Kubernetes write them: `2h`, `1h30m`, `90s`, `500ms`."""

import re
from fractions import Fraction
from typing import Final

MAX_SECONDS: Final = 2**63 // 10**9
"""About 292 years: the longest duration that Go, and with it CEL in the API server, can hold."""

_MAX_LENGTH: Final = 64
_UNITS: Final = {"h": Fraction(3600), "m": Fraction(60), "s": Fraction(1), "ms": Fraction(1, 1000)}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s)")


def parse_duration(text: object) -> float:
    """Seconds, more than zero. ValueError says what is expected."""
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_LENGTH:
        raise ValueError("must be a duration such as 2h, 1h30m, 90s or 500ms")
    seconds, position = Fraction(0), 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            raise ValueError("must be a duration such as 2h, 1h30m, 90s or 500ms (units h, m, s, ms)")
        seconds += Fraction(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"must be a duration longer than zero and at most {MAX_SECONDS // 3600}h")
    return float(seconds)
