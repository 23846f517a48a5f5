"""What a container may ask for, and what Kubernetes' scheduler makes of a whole pod."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway.errors import InvalidInput
from slipway.rules.checks import Check, chain, child, quantity, record
from slipway.rules.quantities import MAX_VALUE, cpu_milli, format_cpu, format_memory, memory_bytes

MIB: Final = 2**20
MAX_SCRATCH_BYTES: Final = 10 * 2**30
"""Disk of one stack: its emptyDir volumes' limits and its ephemeral-storage, each."""


@dataclass(frozen=True)
class Resource:
    """One of the resources that a container may ask for."""

    read: Callable[[object], int]
    write: Callable[[int], str]
    least: int
    most: int = MAX_VALUE
    required: bool = True

    @property
    def check(self) -> Check:
        """Its amount as a number."""
        return quantity(self.read, self.write, self.least, self.most)


RESOURCES: Final = {
    "cpu": Resource(cpu_milli, format_cpu, least=1),
    # 1Mi: no process starts in less, and `256m` for 256Mi (a quarter of a byte) is a common slip
    "memory": Resource(memory_bytes, format_memory, least=MIB),
    "ephemeral-storage": Resource(memory_bytes, format_memory, least=MIB, most=MAX_SCRATCH_BYTES, required=False),
}

_AMOUNTS: Final = record({name: resource.check for name, resource in RESOURCES.items()})
_GIVEN: Final = record({"requests": _AMOUNTS, "limits": _AMOUNTS}, refused={"claims": "is not allowed: no devices"})


def _guaranteed(path: str, value: Any) -> dict[str, dict[str, str]]:
    """Requests and limits made equal, the larger of the two, so that the pod's QoS class is Guaranteed."""
    requests, limits = value.get("requests", {}), value.get("limits", {})
    amounts = {}
    for name, resource in RESOURCES.items():
        amount = max(requests.get(name, 0), limits.get(name, 0))
        if amount:
            amounts[name] = resource.write(amount)
        elif resource.required:
            raise InvalidInput(child(f"{path}.requests", name), "is required, in requests or in limits")
    return {"requests": amounts, "limits": dict(amounts)}


resources: Final = chain(_GIVEN, _guaranteed)
"""Checks and normalizes the `resources` of a container."""


def effective_request(spec: Mapping[str, Any], name: str) -> int:
    """What the scheduler reserves for a pod with sanitized containers: Kubernetes' own rule.

    Containers and sidecars run together. Each init container runs alone, beside the sidecars before it.
    """
    running = sum(_requested(container, name) for container in spec.get("containers", ()))
    sidecars = peak = 0
    for container in spec.get("initContainers", ()):
        amount = _requested(container, name)
        if container.get("restartPolicy") == "Always":
            sidecars += amount
            peak = max(peak, sidecars)
        else:
            peak = max(peak, sidecars + amount)
    return max(running + sidecars, peak)


def _requested(container: Mapping[str, Any], name: str) -> int:
    text = container["resources"]["requests"].get(name)
    return 0 if text is None else RESOURCES[name].read(text)
