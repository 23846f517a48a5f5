"""The verdict on the pod of a Stack: every field by an allowlist, then the rules that span several fields."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway.errors import InvalidInput
from slipway.rules.checks import child
from slipway.rules.pod_fields import POD_TEMPLATE
from slipway.rules.pod_resources import MAX_SCRATCH_BYTES, effective_request
from slipway.rules.quantities import MAX_VALUE, format_cpu, format_memory

MAX_POD_BYTES: Final = 128 * 1024
"""Of the sanitized pod as JSON, well below what the API server stores of one object."""


@dataclass(frozen=True)
class PodLimits:
    """The most that one stack may request."""

    cpu_milli: int
    memory_bytes: int


NO_LIMITS = PodLimits(MAX_VALUE, MAX_VALUE)
"""For a pod that was judged before, under limits that may have been others."""


@dataclass(frozen=True)
class SanitizedPod:
    """A pod that may run, with equal requests and limits, and what it takes of the cluster."""

    labels: dict[str, str]
    annotations: dict[str, str]
    spec: dict[str, Any]
    cpu_milli: int
    memory_bytes: int


def sanitize(template: Mapping[str, Any], target_port: int, limits: PodLimits, root: str = "template") -> SanitizedPod:
    """A clean copy of a pod template `{metadata?, spec}`. InvalidInput names the first bad field."""
    clean = POD_TEMPLATE(root, template)
    spec, at = clean["spec"], child(root, "spec")
    _check_names(spec, at)
    _check_mounts(spec, at)
    _check_port(spec, at, target_port)
    cpu, memory = _check_requests(spec, at, limits)
    if len(json.dumps(clean, ensure_ascii=False).encode()) > MAX_POD_BYTES:
        raise InvalidInput(root, f"must be at most {MAX_POD_BYTES // 1024} KiB as JSON")
    metadata = clean.get("metadata", {})
    return SanitizedPod(metadata.get("labels", {}), metadata.get("annotations", {}), spec, cpu, memory)


def _containers(spec: Mapping[str, Any], at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every container with its path, those for the start included."""
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group, ())):
            yield f"{at}.{group}[{index}]", container


def _check_names(spec: Mapping[str, Any], at: str) -> None:
    seen = set()
    for path, container in _containers(spec, at):
        if container["name"] in seen:
            raise InvalidInput(f"{path}.name", "is used more than once, over containers and initContainers")
        seen.add(container["name"])


def _check_mounts(spec: Mapping[str, Any], at: str) -> None:
    volumes = {volume["name"] for volume in spec.get("volumes", ())}
    for path, container in _containers(spec, at):
        for index, mount in enumerate(container.get("volumeMounts", ())):
            if mount["name"] not in volumes:
                raise InvalidInput(f"{path}.volumeMounts[{index}].name", f"must name one of {at}.volumes")


def _check_port(spec: Mapping[str, Any], at: str, target_port: int) -> None:
    """Players reach one port; the node port leads there."""
    for index, container in enumerate(spec.get("initContainers", ())):
        if container.get("ports"):
            raise InvalidInput(f"{at}.initContainers[{index}].ports", "is not allowed: only containers may")
    exposed = [
        (f"{path}.ports[{index}].containerPort", port["containerPort"])
        for path, container in _containers(spec, at)
        for index, port in enumerate(container.get("ports", ()))
    ]
    if len(exposed) != 1:
        raise InvalidInput(f"{at}.containers", f"must expose exactly one port in all, not {len(exposed)}")
    path, number = exposed[0]
    if number != target_port:
        raise InvalidInput(path, f"must equal the target port, {target_port}")


def _check_requests(spec: Mapping[str, Any], at: str, limits: PodLimits) -> tuple[int, int]:
    cpu, memory = effective_request(spec, "cpu"), effective_request(spec, "memory")
    disk = effective_request(spec, "ephemeral-storage")
    for asked, most, write, what, limit in (
        (cpu, limits.cpu_milli, format_cpu, "cpu", "STACK_MAX_CPU"),
        (memory, limits.memory_bytes, format_memory, "memory", "STACK_MAX_MEMORY"),
        (disk, MAX_SCRATCH_BYTES, format_memory, "ephemeral-storage", "the limit of a stack"),
    ):
        if asked > most:
            raise InvalidInput(
                f"{at}.containers",
                f"must request at most {write(most)} {what} in all ({limit}), not {write(asked)}",
            )
    return cpu, memory
