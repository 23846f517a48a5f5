"""Pod templates for a Stack: a good one, and a way to change it."""

import copy
import json
import re
from typing import Any

import yaml

TARGET_PORT = 5000
APP = "spec.containers[0]"
REMOVED: Any = object()
"""As a change: take the field away."""


def good_container(name: str = "sidekick", cpu: str = "100m", memory: str = "64Mi", **more: Any) -> dict[str, Any]:
    """A container that exposes no port. more: fields that are set over it."""
    resources = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}
    return {"name": name, "image": "ghcr.io/example/problem:latest", "resources": resources, **more}


def good_template(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The documented pod as a template, after changes {path: value}; its port is TARGET_PORT."""
    app = good_container("app", "500m", "256Mi", ports=[{"containerPort": TARGET_PORT, "protocol": "TCP"}])
    template: dict[str, Any] = {"metadata": {"name": "problem-1001"}, "spec": {"containers": [app]}}
    for path, value in (changes or {}).items():
        change(template, path, value if value is REMOVED else copy.deepcopy(value))
    return template


def change(target: Any, path: str, value: Any) -> None:
    """Set the value at a dotted path, making mappings on the way; an index behind the end of a list appends."""
    *steps, last = [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", path)]
    for step in steps:
        target = target.setdefault(step, {}) if isinstance(target, dict) else target[step]
    if value is REMOVED:
        del target[last]
    elif isinstance(target, list) and last == len(target):
        target.append(value)
    else:
        target[last] = value


def pod_yaml(template: dict[str, Any]) -> str:
    """The manifest of a Pod with this template, as a REST client sends it."""
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    return yaml.safe_dump(json.loads(json.dumps(pod)), sort_keys=False)  # fresh copies: no aliases for shared parts
