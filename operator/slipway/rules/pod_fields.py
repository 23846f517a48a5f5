"""The allowlist of a pod template: metadata, volumes and the pod's own fields."""

import re
from typing import Any, Final

from slipway.errors import InvalidInput
from slipway.rules.checks import (
    Check,
    chain,
    dropped,
    forbidden,
    items,
    mapping_of,
    number,
    one_of,
    only_false,
    quantity,
    record,
    text,
    unique,
)
from slipway.rules.pod_containers import CONTAINER, DNS_LABEL, INIT_CONTAINER
from slipway.rules.pod_resources import MAX_SCRATCH_BYTES
from slipway.rules.quantities import format_memory, memory_bytes

_LABEL_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_SHARED_LABELS: Final = tuple(f"app.kubernetes.io/{name}" for name in ("component", "instance", "version"))
_OUR_LABELS: Final = tuple(f"app.kubernetes.io/{name}" for name in ("name", "managed-by", "part-of"))


def _label_key(path: str, key: object) -> str:
    if key in _SHARED_LABELS:
        return str(key)
    if key in _OUR_LABELS or str(key).partition("/")[0] == "slipway.dev":
        raise InvalidInput(path, "is not allowed: this label is Slipway's own")
    return _key_without_prefix(path, key, f" or one of {', '.join(_SHARED_LABELS)}")


def _annotation_key(path: str, key: object) -> str:
    return _key_without_prefix(path, key)


def _key_without_prefix(path: str, key: object, others: str = "") -> str:
    if not isinstance(key, str) or not _LABEL_NAME.fullmatch(key):
        raise InvalidInput(path, f"must be at most 63 letters, digits, '-', '_' and '.', without a prefix{others}")
    return key


_LABEL_VALUE: Final = text(
    63,
    r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?",
    "must be letters, digits, '-', '_' and '.', a letter or digit at both ends",
    shortest=0,
)
_SET_BY_KUBERNETES: Final = "is not allowed: Kubernetes sets it"
_ANY_NAME: Final = dropped(text(253))
_METADATA: Final = record(
    {
        # Slipway chooses name and namespace; a pasted Pod has them
        "name": _ANY_NAME,
        "generateName": _ANY_NAME,
        "namespace": _ANY_NAME,
        # kubectl writes `creationTimestamp: null`
        "creationTimestamp": forbidden(_SET_BY_KUBERNETES),
        "labels": mapping_of(_label_key, _LABEL_VALUE, 32),
        "annotations": mapping_of(_annotation_key, text(4096, shortest=0), 32),
    },
    refused={
        "ownerReferences": "is not allowed: the Stack owns its pod",
        "finalizers": "is not allowed: nothing may hold up the end of a stack",
    }
    | dict.fromkeys(
        ("uid", "resourceVersion", "generation", "managedFields", "selfLink", "deletionTimestamp"),
        _SET_BY_KUBERNETES,
    ),
    otherwise="is not allowed: metadata has labels and annotations only",
)


def _written(_: str, size: Any) -> str:
    return format_memory(size)


_EMPTY_DIR: Final = record(
    {
        "medium": one_of("", "Memory"),
        "sizeLimit": chain(quantity(memory_bytes, format_memory, 1, MAX_SCRATCH_BYTES), _written),
    }
)
_VOLUME: Final = record(
    {"name": DNS_LABEL, "emptyDir": _EMPTY_DIR},
    required=["name", "emptyDir"],
    otherwise="is not allowed: emptyDir is the only kind of volume",
)

_SPEC_FIELDS: Final[dict[str, Check]] = {
    "initContainers": items(INIT_CONTAINER, 8),
    "containers": items(CONTAINER, 8, least=1),
    "volumes": chain(items(_VOLUME, 16), unique("name")),
    "restartPolicy": one_of("Always", "OnFailure", "Never"),
    "terminationGracePeriodSeconds": number(0, 60),
    "activeDeadlineSeconds": number(1, 2**31 - 1),
    "hostname": DNS_LABEL,
}
_OFF: Final = dict.fromkeys(
    (
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "shareProcessNamespace",
        "enableServiceLinks",
        "automountServiceAccountToken",
    ),
    only_false,
)
_NODE: Final = "is not allowed: the scheduler chooses the node"
_ACCOUNT: Final = "is not allowed: a stack has no service account"
_DNS: Final = "is not allowed: name resolution is the same for every stack"
_PRIORITY: Final = "is not allowed: every stack has the same priority"
_REFUSED: Final = {
    "securityContext": "is not allowed, not even empty: every stack gets the same hardened one",
    "nodeName": _NODE,
    "nodeSelector": _NODE,
    "affinity": _NODE,
    "tolerations": _NODE,
    "topologySpreadConstraints": _NODE,
    "schedulerName": "is not allowed: the cluster's default scheduler places stacks",
    "schedulingGates": "is not allowed: nothing may hold up the start of a stack",
    "readinessGates": "is not allowed: nothing may hold up the start of a stack",
    "serviceAccount": _ACCOUNT,
    "serviceAccountName": _ACCOUNT,
    "runtimeClassName": "is not allowed: every stack has the same runtime",
    "priority": _PRIORITY,
    "priorityClassName": _PRIORITY,
    "preemptionPolicy": _PRIORITY,
    "ephemeralContainers": "is not allowed: list every container in containers",
    "imagePullSecrets": "is not allowed: no Secret references",
    "dnsPolicy": _DNS,
    "dnsConfig": _DNS,
    "hostAliases": _DNS,
    "overhead": "is not allowed: Kubernetes sets it",
    "resourceClaims": "is not allowed: no devices",
    "resources": "is not allowed: give resources in each container",
    "hostUsers": "is not allowed: leave it out",
    "os": "is not allowed: stacks run on Linux",
}

POD_TEMPLATE: Final = record(
    {
        # so that a whole Pod can be pasted
        "apiVersion": dropped(one_of("v1")),
        "kind": dropped(one_of("Pod")),
        "metadata": _METADATA,
        "spec": record(
            _SPEC_FIELDS | _OFF,
            ["containers"],
            _REFUSED,
            f"is not allowed in a stack; allowed: {', '.join(_SPEC_FIELDS)}",
        ),
    },
    required=["spec"],
    refused={"status": "is not allowed: Kubernetes sets it"},
    otherwise="is not allowed: a pod template has metadata and spec only",
)
"""Checks the shape of `{metadata?, spec}`; what spans several fields is for pod_spec.py."""
