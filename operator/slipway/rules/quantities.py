"""Kubernetes quantities (`500m`, `256Mi`, `1e3`), read exactly and written in their canonical form."""

import re
from typing import Final

MAX_VALUE: Final = 2**63 - 1
"""Kubernetes keeps the value of a quantity in an int64, and so do its clients."""

_MAX_LENGTH: Final = 64
_GRAMMAR: Final = re.compile(
    r"\+?(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def cpu_milli(text: object) -> int:
    """Thousandths of a CPU, rounded up. ValueError if `text` is no quantity (a string, or a YAML number)."""
    return _read(text, tens=3)


def memory_bytes(text: object) -> int:
    """Bytes, rounded up. ValueError if `text` is no quantity (a string, or a YAML number)."""
    return _read(text)


def format_cpu(milli: int) -> str:
    """The canonical quantity: `1500m`, `2`."""
    return _shortest(milli, 1000, ("m", "", "k", "M", "G", "T", "P", "E"))


def format_memory(size: int) -> str:
    """The canonical quantity: `256Mi`, `1Gi`, `1000`."""
    return _shortest(size, 1024, ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))


def _read(text: object, tens: int = 0) -> int:
    """The quantity times ten to the power of `tens`, rounded up; all in whole numbers, so nothing is lost."""
    match = _GRAMMAR.fullmatch(_spelled(text))
    if match is None:
        raise ValueError("must be a quantity that is not negative, such as 500m, 0.5, 256Mi or 1e3")
    whole, _, decimals = match["number"].partition(".")
    suffix = match["suffix"] or ""
    figures = int(whole + decimals) << _BINARY.get(suffix, 0)
    tens += _DECIMAL.get(suffix, 0) + int(match["exponent"] or 0) - len(decimals)
    power: int = 10 ** abs(tens)
    value = figures * power if tens >= 0 else -(-figures // power)
    if value > MAX_VALUE:
        raise ValueError("is too large: a quantity must fit in 64 bits")
    return value


def _spelled(text: object) -> str:
    """The text of a quantity. Numbers are bounded first: Python may refuse to print a very long one."""
    if isinstance(text, str):
        if len(text) > _MAX_LENGTH:
            raise ValueError(f"must be a quantity of at most {_MAX_LENGTH} characters")
        return text
    if isinstance(text, int | float) and not isinstance(text, bool):
        if not abs(text) <= MAX_VALUE:  # true of NaN as well
            raise ValueError("must be a number that fits in 64 bits")
        return str(text)
    raise ValueError("must be a quantity: a string such as 500m or 256Mi, or a number")


def _shortest(value: int, base: int, suffixes: tuple[str, ...]) -> str:
    """The largest suffix that leaves a whole number, as Kubernetes writes it."""
    if value < 0:
        raise ValueError("must not be negative")
    if value == 0:
        return "0"
    last = len(suffixes) - 1
    power = 0
    while power < last and value % base == 0:
        value //= base
        power += 1
    return f"{value}{suffixes[power]}"
