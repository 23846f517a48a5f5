"""Small checkers, and the combinators that make a table of them into the shape of a whole document.

A checker takes the dotted path of a value and the value. It returns a clean copy that shares nothing mutable
with the input, or raises InvalidInput. A field that no table names is refused: every shape is an allowlist.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from slipway.errors import InvalidInput
from slipway.rules.quantities import MAX_VALUE

Check = Callable[[str, object], Any]

ABSENT: Final = object()
"""What a checker returns for a field that is accepted but left out of the copy."""

UNSAFE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that no text may hold: controls other than tab and line breaks, and what UTF-8 cannot encode."""

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_PRINTABLE_KEY: Final = re.compile(r"[A-Za-z0-9._/-]{1,100}")


def child(path: str, key: object) -> str:
    """The path of a mapping's member. Keys come from strangers: odd ones are escaped and cut short."""
    name = key if isinstance(key, str) else repr(key)[:60]
    if _PLAIN_KEY.fullmatch(name):
        return f"{path}.{name}" if path else name
    return f"{path}[{name if _PRINTABLE_KEY.fullmatch(name) else ascii(name[:60])}]"


def text(longest: int, pattern: str = "", expected: str = "", *, shortest: int = 1) -> Check:
    """A string; with a pattern, one that matches it as a whole."""
    matcher = re.compile(pattern, re.ASCII) if pattern else None

    def check(path: str, value: object) -> str:
        if not isinstance(value, str):
            scalar = isinstance(value, bool | int | float)
            raise InvalidInput(path, "must be a string: put it in quotes" if scalar else "must be a string")
        if not shortest <= len(value) <= longest:
            raise InvalidInput(path, f"must have {shortest} to {longest} characters")
        if UNSAFE.search(value):
            raise InvalidInput(path, "must not contain control characters")
        if matcher and not matcher.fullmatch(value):
            raise InvalidInput(path, expected)
        return value

    return check


def number(low: int, high: int) -> Check:
    """A whole number within bounds, both included."""
    expected = f"must be {low}" if low == high else f"must be a whole number from {low} to {high}"

    def check(path: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidInput(path, expected)
        return value

    return check


def flag(path: str, value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise InvalidInput(path, "must be true or false")
    return value


def one_of(*options: str) -> Check:
    """One of a few words."""

    def check(path: str, value: object) -> str:
        if not isinstance(value, str) or value not in options:
            named = ", ".join(option or '""' for option in options)
            raise InvalidInput(path, f"must be {named}" if len(options) == 1 else f"must be one of {named}")
        return value

    return check


def only_false(path: str, value: object) -> object:
    """A switch that may only be off, which it is anyway."""
    if value is not False:
        raise InvalidInput(path, "is not allowed: leave it out, or set it to false")
    return ABSENT


def dropped(check: Check) -> Check:
    """Accepted if well-formed, and left out."""

    def checked(path: str, value: object) -> object:
        check(path, value)
        return ABSENT

    return checked


def forbidden(reason: str) -> Check:
    """Never accepted. In a record's table it still lets null pass, as null means absent."""

    def check(path: str, _: object) -> Any:
        raise InvalidInput(path, reason)

    return check


def chain(*checks: Check) -> Check:
    """Each check gets what the one before it returned."""

    def check(path: str, value: object) -> Any:
        for step in checks:
            value = step(path, value)
        return value

    return check


def items(check: Check, most: int, least: int = 0) -> Check:
    """A list of bounded length."""
    expected = f"must have {least} to {most} items" if least else f"must have at most {most} items"

    def check_all(path: str, value: object) -> list[Any]:
        if not isinstance(value, list):
            raise InvalidInput(path, "must be a list")
        if not least <= len(value) <= most:
            raise InvalidInput(path, expected)
        return [check(f"{path}[{index}]", item) for index, item in enumerate(value)]

    return check_all


def mapping_of(key: Check, value: Check, most: int) -> Check:
    """A mapping with free keys, each of them checked."""

    def check(path: str, given: object) -> dict[str, Any]:
        found = _mapping(path, given)
        if len(found) > most:
            raise InvalidInput(path, f"must have at most {most} entries")
        return {key(child(path, name), name): value(child(path, name), item) for name, item in found.items()}

    return check


def record(
    fields: Mapping[str, Check],
    required: Iterable[str] = (),
    refused: Mapping[str, str] | None = None,
    otherwise: str = "",
) -> Check:
    """A mapping of known fields. Null means absent, as it does to Kubernetes.

    refused: what to say of fields that are often met and never accepted. otherwise: of all the rest.
    """
    reasons = refused or {}
    fallback = otherwise or f"is not allowed here; allowed: {', '.join(fields)}"

    def check(path: str, value: object) -> dict[str, Any]:
        found = _mapping(path, value)
        for name in found:
            if name not in fields:
                raise InvalidInput(child(path, name), reasons.get(name, fallback))
        for name in required:
            if found.get(name) is None:
                raise InvalidInput(child(path, name), "is required")
        given = {name: entry for name, entry in fields.items() if found.get(name) is not None}
        clean = {name: entry(child(path, name), found[name]) for name, entry in given.items()}
        return {name: item for name, item in clean.items() if item is not ABSENT}

    return check


def unique(key: str) -> Check:
    """Of a list of records: no two with the same value under `key`."""

    def check(path: str, value: Any) -> Any:
        seen = set()
        for index, item in enumerate(value):
            if item[key] in seen:
                raise InvalidInput(f"{path}[{index}].{key}", "is used more than once")
            seen.add(item[key])
        return value

    return check


def quantity(read: Callable[[object], int], write: Callable[[int], str], least: int, most: int = MAX_VALUE) -> Check:
    """A Kubernetes quantity, as a number within bounds."""
    expected = f"must be at least {write(least)}" + (f" and at most {write(most)}" if most < MAX_VALUE else "")

    def check(path: str, value: object) -> int:
        try:
            amount = read(value)
        except ValueError as error:
            raise InvalidInput(path, str(error)) from None
        if not least <= amount <= most:
            raise InvalidInput(path, expected)
        return amount

    return check


def _mapping(path: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise InvalidInput(path, "must be a mapping")
    for key in value:
        if not isinstance(key, str):
            raise InvalidInput(child(path, key), "must have a string for its key")
    return value
