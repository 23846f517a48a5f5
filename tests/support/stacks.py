"""Stacks on a real cluster: what to send, and how to look at what came of it."""

import json
from typing import Any

import yaml

from tests.support.product import Product, rest, text
from tests.testbed.interface import Cluster

NAMESPACE = "stacks"
PORT = 5000
PAGE = "slipway e2e"

Json = dict[str, Any]


def pod(**spec: Any) -> Json:
    """A pod template with a tiny web server; spec: fields of the pod spec that are set over it."""
    web = {
        "name": "web",
        "image": "busybox:1.36",
        "command": [
            "sh",
            "-c",
            f"mkdir /tmp/www && echo '{PAGE}' > /tmp/www/index.html && exec httpd -f -p {PORT} -h /tmp/www",
        ],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "resources": {"limits": {"cpu": "20m", "memory": "16Mi"}},
    }
    return {"spec": {"containers": [web], **spec}}


def idle() -> Json:
    """A pod template that does nothing, in the least room."""
    container = {
        "name": "app",
        "image": "registry.k8s.io/pause:3.10",
        "ports": [{"containerPort": PORT}],
        "resources": {"limits": {"cpu": "2m", "memory": "8Mi"}},
    }
    return {"spec": {"containers": [container]}}


def resource(user: int, problem: int = 1, name: str = "", template: Json | None = None, **spec: Any) -> Json:
    """A Stack for kubectl."""
    return {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "Stack",
        "metadata": {
            "name": name or f"stack-{user}-{problem}",
            "namespace": NAMESPACE,
            "labels": {"e2e": "true"},
        },
        "spec": {"userId": user, "problemId": problem, "targetPort": PORT, "template": template or pod(), **spec},
    }


def request(user: int, problem: int = 1, template: Json | None = None) -> Json:
    """A Stack for REST."""
    manifest = {"apiVersion": "v1", "kind": "Pod", **(template or pod())}
    return {"user_id": user, "problem_id": problem, "target_port": PORT, "pod_spec": yaml.safe_dump(manifest)}


def create(cluster: Cluster, *resources: Json) -> None:
    """`kubectl create`."""
    documents = {"apiVersion": "v1", "kind": "List", "items": list(resources)}
    cluster.kubectl("create", "-f", "-", input=json.dumps(documents))


def wait_for(cluster: Cluster, name: str, condition: str, seconds: int = 60) -> Json:
    """`kubectl wait`, then the Stack."""
    cluster.kubectl("wait", "-n", NAMESPACE, f"stack/{name}", f"--for=condition={condition}", f"--timeout={seconds}s")
    return get(cluster, name)


def get(cluster: Cluster, name: str) -> Json:
    found: Json = json.loads(cluster.kubectl("get", "stack", "-n", NAMESPACE, name, "-o", "json"))
    return found


def names(cluster: Cluster, kinds: str, uid: str = "") -> list[str]:
    """kind/name of what is labelled as ours; of one Stack, if its UID is given."""
    label = f"slipway.dev/uid={uid}" if uid else "slipway.dev/uid"
    return cluster.kubectl("get", kinds, "-n", NAMESPACE, "-l", label, "-o", "name").split()


def children(cluster: Cluster, uid: str) -> list[str]:
    return names(cluster, "pods,services,networkpolicies", uid)


def reason(stack: Json, condition: str) -> tuple[str, str, str]:
    """(status, reason, message) of a condition."""
    found = next(c for c in stack["status"]["conditions"] if c["type"] == condition)
    return found["status"], found["reason"], found["message"]


def page(product: Product, node_port: int) -> str:
    """What answers on a node port; empty while nothing does."""
    return text(f"http://{product.cluster.node_address}:{node_port}/") or ""


def post(product: Product, body: Json) -> tuple[int, Any]:
    return rest("POST", f"{product.gateway}/stacks", body)
