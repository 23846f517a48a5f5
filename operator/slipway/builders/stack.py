"""A Stack's children: hardened pod, node port Service, NetworkPolicy."""

from collections.abc import Sequence
from dataclasses import dataclass

from slipway.api.kinds import NETWORK_POLICY, POD, SERVICE, Kind
from slipway.api.meta import Object
from slipway.api.stack import Stack
from slipway.builders import meta
from slipway.rules.names import stack_name, stack_pod_name
from slipway.rules.pod_spec import SanitizedPod

DISK = "1Gi"  # what a container may write where its spec states no limit: a full node is everyone's loss
GRACE_SECONDS = 5  # a challenge has nothing to save; its CPU and memory are soon free for the next player

# The image's own user and file system stay: challenges come as they are, and often run as root.
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True, slots=True)
class StackChildren:
    """What a Stack is made of, as manifests."""

    pod: Object
    service: Object
    network_policy: Object


def build(stack: Stack, pod: SanitizedPod, node_port: int, egress_cidrs: Sequence[str]) -> StackChildren:
    return StackChildren(
        pod=build_pod(stack, pod),
        service=build_service(stack, node_port),
        network_policy=build_network_policy(stack, egress_cidrs),
    )


def pair_name(stack: Stack) -> str:
    """Name of the Stack's Service and NetworkPolicy."""
    return stack_name(stack.spec.user_id, stack.spec.problem_id, stack.spec.tenant)


def pod_name(stack: Stack) -> str:
    """Name of the pod that the Stack's template asks for."""
    return stack_pod_name(pair_name(stack), stack.metadata.uid, stack.spec.template)


def _child(kind: Kind, name: str, stack: Stack) -> Object:
    manifest = meta.child(kind, name, stack)
    if stack.spec.tenant:
        manifest["metadata"]["labels"][meta.TENANT] = stack.spec.tenant
    return manifest


def build_pod(stack: Stack, pod: SanitizedPod) -> Object:
    """The player's pod: what the allowlist left of it, with every door closed that it does not need."""
    manifest = _child(POD, pod_name(stack), stack)
    manifest["metadata"]["labels"] = pod.labels | manifest["metadata"]["labels"]
    manifest["metadata"]["annotations"] = pod.annotations
    manifest["spec"] = {
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        **pod.spec,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    }
    for group in ("initContainers", "containers"):
        if group in pod.spec:
            manifest["spec"][group] = [_hardened(container) for container in pod.spec[group]]
    return manifest


def _hardened(container: Object) -> Object:
    given = container["resources"]
    resources = {
        "requests": {"ephemeral-storage": "0"} | given["requests"],
        "limits": {"ephemeral-storage": DISK} | given["limits"],
    }
    return container | {"resources": resources, "securityContext": CONTAINER_SECURITY}


def build_service(stack: Stack, node_port: int) -> Object:
    manifest = _child(SERVICE, pair_name(stack), stack)
    port = {"name": "target", "protocol": "TCP", "port": stack.spec.target_port, "nodePort": node_port}
    manifest["spec"] = {
        "type": "NodePort",
        "selector": meta.selector(stack),
        "ports": [port | {"targetPort": stack.spec.target_port}],
    }
    return manifest


def build_network_policy(stack: Stack, egress_cidrs: Sequence[str]) -> Object:
    """Players in from anywhere, to the target port alone; nothing out but to `egress_cidrs`."""
    manifest = _child(NETWORK_POLICY, pair_name(stack), stack)
    manifest["spec"] = {
        "podSelector": {"matchLabels": meta.selector(stack)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": stack.spec.target_port}]}],
        "egress": [{"to": [{"ipBlock": {"cidr": cidr}}]} for cidr in egress_cidrs],
    }
    return manifest
