"""Strict reading of the one Pod manifest that a REST client sends as text.

Plain scalars mean what they mean to kubectl (sigs.k8s.io/yaml): `yes` and `on` are booleans, `0777` is octal,
a date is a string. What could surprise or hurt is refused: aliases, foreign tags, duplicate keys, a second
document.
"""

import math
import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, Final

import yaml

from slipway.errors import InvalidInput
from slipway.rules.checks import UNSAFE, child

FIELD: Final = "pod_spec"
MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 20
MAX_EVENTS: Final = 10_000
"""What the parser reports: one for each scalar, two for each list and mapping. Reading so many takes about 50 ms."""

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is 20 times faster
_TAG_PREFIX: Final = "tag:yaml.org,2002:"
_TRUE: Final = frozenset(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
_FALSE: Final = frozenset(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"])
_NULL: Final = frozenset(["", "~", "null", "Null", "NULL"])
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INT: Final = re.compile(r"([-+]?)(?:0[bB]([01]+)|0[oO]?([0-7]+)|0[xX]([0-9a-fA-F]+)|(0|[1-9][0-9]*))")
_BASES: Final = (2, 8, 16, 10)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "null": type(None),
    "bool": bool,
    "int": int,
    "float": (int, float),
}


def parse_pod(text: str) -> dict[str, Any]:
    """The Pod that `text` describes, made of plain JSON values. InvalidInput if it is not exactly one Pod."""
    _check_text(text)
    try:
        pod = _document(_bounded(yaml.parse(text, Loader=_LOADER)))
    except yaml.MarkedYAMLError as error:
        raise _refused(FIELD, error.problem_mark or error.context_mark, _one_line(error.problem)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter of escapes that are no character
        raise InvalidInput(FIELD, f"is not YAML: {_one_line(str(error))}") from None
    if not isinstance(pod, dict):
        raise InvalidInput(FIELD, "must be a mapping: one Pod manifest in YAML")
    for key, expected in (("apiVersion", "v1"), ("kind", "Pod")):
        if pod.get(key) != expected:
            raise InvalidInput(f"{FIELD}.{key}", f"must be {expected}")
    return pod


def _check_text(text: object) -> None:
    """What can be told before parsing; the length comes first, as the rest takes time in proportion."""
    if not isinstance(text, str):
        raise InvalidInput(FIELD, "must be a string: one Pod manifest in YAML")
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        raise InvalidInput(FIELD, f"must be at most {MAX_BYTES // 1024} KiB")
    if unsafe := UNSAFE.search(text):
        line = text.count("\n", 0, unsafe.start()) + 1
        raise InvalidInput(FIELD, f"line {line}: control characters are not allowed")


def _bounded(events: Iterator[Any]) -> Iterator[Any]:
    for count, event in enumerate(events):
        if count == MAX_EVENTS:
            raise _refused(FIELD, event.start_mark, "must not hold so many values")
        yield event


def _document(events: Iterator[Any]) -> Any:
    """The value of the only document in the stream."""
    root: Any = None
    documents = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _refused(FIELD, event.start_mark, "must be one YAML document; another begins here")
        elif isinstance(event, yaml.NodeEvent):
            root = _node(event, events, FIELD, 1)
    return root


def _node(event: Any, events: Iterator[Any], path: str, depth: int) -> Any:
    """The value that begins with `event`; takes the rest of it from `events`."""
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise _refused(path, event.start_mark, "anchors and aliases are not allowed")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event, path)
    if depth > MAX_DEPTH:
        raise _refused(path, event.start_mark, f"must not be nested deeper than {MAX_DEPTH} levels")
    if isinstance(event, yaml.SequenceStartEvent):
        _check_tag(event, path, "seq")
        return _sequence(events, path, depth)
    _check_tag(event, path, "map")
    return _mapping(events, path, depth)


def _sequence(events: Iterator[Any], path: str, depth: int) -> list[Any]:
    items: list[Any] = []
    for event in takewhile(lambda one: not isinstance(one, yaml.SequenceEndEvent), events):
        items.append(_node(event, events, f"{path}[{len(items)}]", depth + 1))
    return items


def _mapping(events: Iterator[Any], path: str, depth: int) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for event in takewhile(lambda one: not isinstance(one, yaml.MappingEndEvent), events):
        key = _key(event, events, path)
        if key in entries:
            raise _refused(child(path, key), event.start_mark, "duplicate key")
        entries[key] = _node(next(events), events, child(path, key), depth + 1)
    return entries


def _key(event: Any, events: Iterator[Any], path: str) -> str:
    simple = isinstance(event, yaml.ScalarEvent | yaml.AliasEvent)
    key = _node(event, events, path, MAX_DEPTH) if simple else None
    if not isinstance(key, str):
        raise _refused(path, event.start_mark, "keys must be strings: put this one in quotes")
    if key == "<<" and not event.style:
        raise _refused(path, event.start_mark, "merge keys are not allowed")
    return key


def _scalar(event: Any, path: str) -> Any:
    """A scalar's value, by its tag if it has one, else as kubectl reads it."""
    if UNSAFE.search(event.value):
        raise _refused(path, event.start_mark, "control characters are not allowed")
    tag = _short_tag(event)
    if tag in ("!", "str") or (tag is None and event.style):
        return event.value
    try:
        value = _plain(event.value)
    except ValueError as error:
        raise _refused(path, event.start_mark, str(error)) from None
    if tag is None:
        return value
    if tag not in _TYPES:
        raise _refused(path, event.start_mark, "tags other than those of YAML's core schema are not allowed")
    if not isinstance(value, _TYPES[tag]) or (tag in ("int", "float") and isinstance(value, bool)):
        raise _refused(path, event.start_mark, f"is not of the type its tag says, !!{tag}")
    return value


def _plain(text: str) -> Any:
    """What an unquoted scalar means. Dates, `1:30` and all else that is no number are strings."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("numbers must be finite")
    if text[0] not in "+-.0123456789":
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    if whole := _INT.fullmatch(digits):
        return _int(whole)
    if _FLOAT.fullmatch(digits):
        return _float(digits, text)
    return text


def _int(match: re.Match[str]) -> int:
    base, figures = next((base, group) for base, group in zip(_BASES, match.groups()[1:], strict=True) if group)
    value = int(match[1] + figures, base) if len(figures) <= 64 else 2**64
    if not -(2**63) <= value < 2**63:
        raise ValueError("whole numbers must fit in 64 bits; put it in quotes if it is meant as text")
    return value


def _float(digits: str, text: str) -> float | int | str:
    """JSON has one kind of number: `5000.0` and `5e3` are the whole number 5000, as they are to kubectl."""
    value = float(digits)
    if math.isinf(value):
        return text
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


def _short_tag(event: Any) -> str | None:
    tag: str | None = event.tag
    return tag.removeprefix(_TAG_PREFIX) if tag else None


def _check_tag(event: Any, path: str, expected: str) -> None:
    if _short_tag(event) not in (None, "!", expected):
        raise _refused(path, event.start_mark, "tags other than those of YAML's core schema are not allowed")


def _refused(path: str, mark: Any, expected: str) -> InvalidInput:
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return InvalidInput(path, f"{place}{expected}")


def _one_line(message: str | None) -> str:
    """A parser's message, fit for an answer: it may quote the input at length."""
    return " ".join((message or "is not YAML").split())[:200]
