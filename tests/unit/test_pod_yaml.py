"""Strict reading of a Pod manifest."""

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.errors import InvalidInput
from slipway.rules import pod_yaml
from slipway.rules.pod_yaml import MAX_BYTES, MAX_DEPTH, parse_pod

HEAD = "apiVersion: v1\nkind: Pod\n"


LOADERS = [getattr(yaml, name) for name in ("SafeLoader", "CSafeLoader") if hasattr(yaml, name)]
"""PyYAML's own parser, and libyaml where it was built with that: they must agree."""


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_yaml, "_LOADER", request.param)


# What sigs.k8s.io/yaml 1.6.0 makes of the same text, tried.
SCALARS: list[tuple[str, Any]] = [
    *[(text, True) for text in ("y", "yes", "On", "TRUE", "!!bool yes")],
    *[(text, False) for text in ("n", "No", "OFF", "false")],
    *[(text, None) for text in ("", "~", "null", "NULL", "!!null ~")],
    *[(text, text) for text in ("yEs", "nULL", "1:30", "=", "0b2", "0x", "_1", "1e400", "v1", "..", "-a")],
    *[(text, text) for text in ("2001-01-01", "2001-12-14t21:59:43.10-05:00", "500m", "256Mi")],
    *[("'yes'", "yes"), ('"on"', "on"), ("''", ""), ("!!str yes", "yes"), ("! 12", "12"), ("!!str", "")],
    *[("0777", 511), ("0o17", 15), ("0O17", 15), ("00", 0), ("08", 8), ("0x1F", 31), ("-0b11", -3)],
    *[
        ("1_000", 1000),
        ("+5", 5),
        ("!!int 3", 3),
        ("5000.0", 5000),
        ("1e3", 1000),
        ("1.5e3", 1500),
        ("5.", 5),
    ],
    *[("1.5", 1.5), (".5", 0.5), ("-.5", -0.5), ("1e25", 1e25), ("!!float 1.5", 1.5)],
    *[(str(2**63 - 1), 2**63 - 1), (str(-(2**63)), -(2**63))],
    *[("[a, {b: c}]", ["a", {"b": "c"}]), ("!!seq []", []), ("!!map {}", {}), ("|\n  a\n  b\n", "a\nb\n")],
    *[('"a\\tb\\nc"', "a\tb\nc"), ('"\\u2603"', "☃"), ('"\\U0001F600"', "\U0001f600")],
]


@pytest.mark.usefixtures("loader")
def test_values_mean_what_they_mean_to_kubectl() -> None:
    for text, value in SCALARS:
        found = parse_pod(f"{HEAD}v: {text}")["v"]
        assert (text, found, type(found)) == (text, value, type(value))


# Text, field below pod_spec, fragment of the message.
REFUSED: dict[str, tuple[str, str, str]] = {
    "alias": (f"{HEAD}a: &x 1\nb: *x\n", ".a", "line 3, column 4: anchors and aliases"),
    "anchor-of-mapping": (f"{HEAD}a: &x {{}}\n", ".a", "anchors and aliases"),
    "anchor-of-key": (f"{HEAD}&x a: 1\n", "", "anchors and aliases"),
    "undefined-alias": (f"{HEAD}a: [*x]\n", ".a[0]", "anchors and aliases"),
    "alias-as-key": (f"{HEAD}*x : 1\n", "", "anchors and aliases"),
    "merge": (f"{HEAD}<<: {{a: 1}}\n", "", "merge keys"),
    "two-documents": (f"{HEAD}---\n{HEAD}", "", "line 3, column 1: must be one YAML document"),
    "empty-second-document": (f"{HEAD}---\n", "", "must be one YAML document"),
    "document-after-end": (f"{HEAD}...\n{{}}\n", "", "line 4, column 1: "),
    "duplicate-key": (f"{HEAD}spec:\n  a: 1\n  'a': 2\n", ".spec.a", "line 5, column 3: duplicate key"),
    "duplicate-kind": (f"{HEAD}kind: Pod\n", ".kind", "duplicate key"),
    "python-tag": (f"{HEAD}a: !!python/object/apply:os.system [id]\n", ".a", "core schema"),
    "python-name": (f"{HEAD}a: !!python/name:os.system ''\n", ".a", "core schema"),
    "binary-tag": (f"{HEAD}a: !!binary aGk=\n", ".a", "core schema"),
    "timestamp-tag": (f"{HEAD}a: !!timestamp 2001-01-01\n", ".a", "core schema"),
    "set-tag": (f"{HEAD}a: !!set {{b}}\n", ".a", "core schema"),
    "own-tag": (f"{HEAD}a: !own 1\n", ".a", "core schema"),
    "own-prefix": (f"%TAG ! tag:example.com,2000:\n---\n{HEAD}a: !own 1\n", ".a", "core schema"),
    "wrong-tag": (f"{HEAD}a: !!int x\n", ".a", "not of the type its tag says"),
    "boolean-as-int": (f"{HEAD}a: !!int yes\n", ".a", "not of the type its tag says"),
    "nan": (f"{HEAD}a: .nan\n", ".a", "must be finite"),
    "inf": (f"{HEAD}a: [-.Inf]\n", ".a[0]", "must be finite"),
    "int-64": (f"{HEAD}a: {2**63}\n", ".a", "fit in 64 bits"),
    "int-hex": (f"{HEAD}a: 0x{'f' * 65}\n", ".a", "fit in 64 bits"),
    "int-endless": (f"{HEAD}a: {'9' * 60000}\n", ".a", "fit in 64 bits"),
    "key-number": (f"{HEAD}a: {{1: b}}\n", ".a", "keys must be strings"),
    "key-boolean": (f"{HEAD}on: push\n", "", "keys must be strings"),
    "key-null": (f"{HEAD}? \n: 1\n", "", "keys must be strings"),
    "key-mapping": (f"{HEAD}? {{a: b}}\n: 1\n", "", "keys must be strings"),
    "key-list": (f"{HEAD}[a]: 1\n", "", "keys must be strings"),
    "nul": (f"{HEAD}a: b\0c\n", "", "line 3: control characters"),
    "nul-escape": (f'{HEAD}a: ["\\0"]\n', ".a[0]", "control characters"),
    "bell-escape": (f'{HEAD}a: "\\x07"\n', ".a", "control characters"),
    "control-in-key": (f'{HEAD}"a\\eb": 1\n', "", "control characters"),
    "surrogate": (f"{HEAD}a: \ud800\n", "", "control characters"),
    "syntax": (f"{HEAD}a: [1\nb: 2\n", "", "line "),
    "tab": (f"{HEAD}a:\n\tb: 1\n", "", "line 4, column 1: "),
    "unclosed-quote": (f'{HEAD}a: "b\n', "", "line "),
    "version": (f"%YAML 9.0\n---\n{HEAD}", "", "line 1, column 1: "),
    "empty": ("", "", "must be a mapping"),
    "comment": ("# nothing\n", "", "must be a mapping"),
    "list": ("[]", "", "must be a mapping"),
    "text": ("Pod", "", "must be a mapping"),
    "no-api-version": ("kind: Pod\n", ".apiVersion", "must be v1"),
    "no-kind": ("apiVersion: v1\n", ".kind", "must be Pod"),
    "deployment": ("apiVersion: v1\nkind: Deployment\n", ".kind", "must be Pod"),
    "pod-list": ("apiVersion: v1\nkind: [Pod]\n", ".kind", "must be Pod"),
    "deep-flow": (f"{HEAD}a: {'[' * 500}", ".a" + "[0]" * (MAX_DEPTH - 1), "nested deeper than 20"),
    "deep-block": (
        HEAD + "".join(f"{' ' * n}a:\n" for n in range(100)),
        ".a" * MAX_DEPTH,
        "nested deeper than 20",
    ),
    "many": (f"{HEAD}a: [{'1,' * 10000}]\n", "", "must not hold so many values"),
    "large": (f"{HEAD}a: {'x' * MAX_BYTES}\n", "", "at most 64 KiB"),
    "large-in-bytes": (f"{HEAD}a: {'☃' * 30000}\n", "", "at most 64 KiB"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, field, fragment = REFUSED[name]
    for loader in LOADERS:
        monkeypatch.setattr(pod_yaml, "_LOADER", loader)
        with pytest.raises(InvalidInput) as refused:
            parse_pod(text)
        assert refused.value.field == f"pod_spec{field}"
        assert fragment in refused.value.expected
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 400


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize("escape", ["\\uD800", "\\U00110000", "\\UFFFFFFFF", "\\q"])
def test_escapes_that_are_no_character(escape: str) -> None:
    with pytest.raises(InvalidInput):
        parse_pod(f'{HEAD}a: "{escape}"\n')


@pytest.mark.parametrize("text", [None, 5, b"kind: Pod", {"kind": "Pod"}])
def test_only_text_is_read(text: Any) -> None:
    with pytest.raises(InvalidInput, match="pod_spec: must be a string"):
        parse_pod(text)


@pytest.mark.usefixtures("loader")
def test_a_billion_laughs_take_no_time() -> None:
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    started = time.perf_counter()
    with pytest.raises(InvalidInput, match="aliases"):
        parse_pod("\n".join([HEAD, "a0: &a0 [x]", *lines]))
    assert time.perf_counter() - started < 0.5


@pytest.mark.usefixtures("loader")
def test_comments_markers_and_json_are_fine() -> None:
    assert parse_pod(f"# a pod\n---\n{HEAD}...\n# end\n") == {"apiVersion": "v1", "kind": "Pod"}
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "é"}]}}
    assert parse_pod(json.dumps(pod)) == pod
    assert parse_pod("\ufeff" + json.dumps(pod, ensure_ascii=False)) == pod


@pytest.mark.usefixtures("loader")
def test_the_deepest_that_is_allowed() -> None:
    assert parse_pod(f"{HEAD}a: {'[' * (MAX_DEPTH - 1)}{']' * (MAX_DEPTH - 1)}\n")["a"]


def test_nothing_is_taken_for_a_time() -> None:
    pod = parse_pod(f"{HEAD}metadata: {{creationTimestamp: 2026-01-01T00:00:00Z}}\n")
    assert pod["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"


LETTERS = st.text("ab:-?[]{}&*!|>'\"%@#,\n 01.~\\xu<\té☃\U0001f600", max_size=20)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | LETTERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3),
    max_leaves=8,
)
FIXTURE_IS_FINE = [HealthCheck.function_scoped_fixture]


@pytest.mark.usefixtures("loader")
@settings(max_examples=40, deadline=None, suppress_health_check=FIXTURE_IS_FINE)
@given(ANYTHING)
def test_json_and_yaml_are_read_back(value: Any) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "v": value}
    assert parse_pod(json.dumps(pod, ensure_ascii=False)) == pod
    assert parse_pod(yaml.safe_dump(pod)) == pod


@pytest.mark.usefixtures("loader")
@settings(max_examples=60, deadline=None, suppress_health_check=FIXTURE_IS_FINE)
@given(LETTERS)
def test_junk_is_refused_in_words(junk: str) -> None:
    try:
        pod = parse_pod(f"{HEAD}v: {junk}")
    except InvalidInput as refused:
        check_words(refused)
    else:
        assert json.dumps(pod, allow_nan=False).encode()


def check_words(refused: InvalidInput) -> None:
    assert "\n" not in str(refused)
