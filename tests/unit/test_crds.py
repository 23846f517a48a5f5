"""The committed CRDs, and what Kubernetes and GitOps tools need of them."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from slipway.api.kinds import OWN_KINDS
from slipway.api.meta import Resource
from slipway.crdgen import CRDS, MODELS, crd, main, render

NOT_STRUCTURAL = {"$ref", "anyOf", "oneOf", "allOf", "const", "definitions", "$defs", "title"}


def schema_of(model: type[Resource]) -> dict[str, Any]:
    schema: dict[str, Any] = crd(model)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def parts(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, with its path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from parts(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from parts(schema[key], f"{path}[]")


models = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)


def test_every_kind_has_a_model() -> None:
    assert {model.kind_of for model in MODELS} == set(OWN_KINDS)


@models
def test_the_committed_file_is_what_the_models_make(model: type[Resource]) -> None:
    path = CRDS / f"{model.kind_of.group}_{model.kind_of.plural}.yaml"
    assert path.read_text() == render(model), "run `make crds`"
    assert yaml.safe_load(path.read_text()) == crd(model)


def test_no_file_is_left_over() -> None:
    expected = {f"{m.kind_of.group}_{m.kind_of.plural}.yaml" for m in MODELS}
    assert {path.name for path in CRDS.glob("*.yaml")} == expected


def test_check_says_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("slipway.crdgen.CRDS", tmp_path / "crds")
    monkeypatch.setattr("sys.argv", ["crdgen", "--check"])
    assert main() == 1
    assert "out of date" in capsys.readouterr().out
    assert not (tmp_path / "crds").exists(), "it only looks"
    monkeypatch.setattr("sys.argv", ["crdgen"])
    assert main() == 0
    monkeypatch.setattr("sys.argv", ["crdgen", "--check"])
    assert main() == 0


@models
def test_the_schema_is_structural(model: type[Resource]) -> None:
    for path, part in parts(schema_of(model), ""):
        assert not NOT_STRUCTURAL & part.keys(), path
        assert part["type"] in ("object", "array", "string", "integer", "boolean", "number"), path
        if part.get("properties"):
            assert "additionalProperties" not in part, path
        if "default" in part:
            assert part["default"] is not None, path


@models
def test_everything_a_user_writes_is_bounded(model: type[Resource]) -> None:
    """CEL's cost is reckoned from the bounds; and etcd is no attic."""
    for path, part in parts(schema_of(model)["properties"]["spec"], "spec"):
        if part.get("x-kubernetes-preserve-unknown-fields"):
            continue
        match part["type"]:
            case "string":
                assert "maxLength" in part or "enum" in part or part.get("format") == "date-time", path
            case "array":
                assert "maxItems" in part, path
            case "integer":
                assert {"minimum", "maximum"} <= part.keys(), path
            case "object":
                assert "properties" in part or "maxProperties" in part, path


@models
def test_conditions_of_the_status(model: type[Resource]) -> None:
    status = schema_of(model)["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}
    conditions = status["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert set(conditions["items"]["required"]) >= {"type", "status", "reason", "lastTransitionTime"}


@models
def test_what_tools_look_for(model: type[Resource]) -> None:
    spec = crd(model)["spec"]
    (version,) = spec["versions"]
    assert version["subresources"] == {"status": {}}
    assert spec["names"]["categories"] == ["slipway"]
    assert spec["names"]["shortNames"]
    columns = [column["name"] for column in version["additionalPrinterColumns"]]
    assert {"Ready", "Reason", "Age"} <= set(columns)
    assert all(
        field.get("description")
        for field in version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].values()
    )
    name = version["schema"]["openAPIV3Schema"]["properties"]["metadata"]["properties"]["name"]
    assert name["maxLength"] == 63


def test_the_template_of_a_stack_is_kept_whole() -> None:
    (stack,) = (model for model in MODELS if model.kind_of.kind == "Stack")
    template = schema_of(stack)["properties"]["spec"]["properties"]["template"]
    assert template["type"] == "object"
    assert template["x-kubernetes-preserve-unknown-fields"] is True
    assert "properties" not in template
