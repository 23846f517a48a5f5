"""What a Stack's NetworkPolicy does, on clusters whose network enforces policies; a probe tells which do."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import stacks
from tests.support.eventually import eventually
from tests.support.product import Product
from tests.support.stacks import NAMESPACE
from tests.testbed.interface import Cluster

PROBE = "e2e-policy"
OTHER_PORT = 5001
ATTEMPTS = 5  # a policy takes effect a moment after it is made


@pytest.fixture(scope="module")
def client(product: Product) -> Iterator[str]:
    """A pod in a namespace of its own, from which nothing keeps it from reaching out."""
    cluster = product.cluster
    cluster.kubectl("create", "namespace", PROBE)
    try:
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": PROBE}, **stacks.pod()}
        cluster.kubectl("create", "-f", "-", input=json.dumps(body))
        cluster.kubectl("wait", "-n", PROBE, "pod/client", "--for=condition=Ready", "--timeout=60s")
        yield "client"
    finally:
        cluster.kubectl("delete", "namespace", PROBE, "--wait=false")


@pytest.fixture(scope="module")
def enforcing(product: Product, client: str) -> None:
    """Skip where a policy that denies everything keeps nobody out."""
    cluster = product.cluster
    address = _address(cluster, PROBE, client)
    eventually(lambda: _reaches(cluster, PROBE, client, address, stacks.PORT))  # as long as there is no policy
    deny = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    metadata = {"name": "deny", "namespace": PROBE}
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": deny}
    cluster.kubectl("create", "-f", "-", input=json.dumps(policy))
    try:
        if all(_reaches(cluster, PROBE, client, address, stacks.PORT) for _ in range(ATTEMPTS)):
            pytest.skip("this cluster's network enforces no NetworkPolicy: a pod under deny-all reaches and is reached")
    finally:
        cluster.kubectl("delete", "networkpolicy", "-n", PROBE, "deny")


@pytest.mark.usefixtures("enforcing")
def test_players_reach_the_target_port_alone_and_nothing_gets_out(
    product: Product, client: str, users: Iterator[int]
) -> None:
    user, cluster = next(users), product.cluster
    servers = f"httpd -p {OTHER_PORT} -h /tmp/www && exec httpd -f -p {stacks.PORT} -h /tmp/www"
    serve = f"mkdir /tmp/www && touch /tmp/www/index.html && {servers}"
    template = stacks.pod()
    template["spec"]["containers"][0]["command"] = ["sh", "-c", serve]
    stacks.create(cluster, stacks.resource(user, template=template))
    stack = stacks.wait_for(cluster, f"stack-{user}-1", "Ready")
    pod = stack["status"]["podName"]
    address = _address(cluster, NAMESPACE, pod)
    eventually(lambda: _reaches(cluster, PROBE, client, address, stacks.PORT))
    eventually(lambda: not _reaches(cluster, PROBE, client, address, OTHER_PORT))
    eventually(lambda: not _reaches(cluster, NAMESPACE, pod, _address(cluster, PROBE, client), stacks.PORT))


def _address(cluster: Cluster, namespace: str, pod: str) -> str:
    return cluster.kubectl("get", "pod", "-n", namespace, pod, "-o", "jsonpath={.status.podIP}")


def _reaches(cluster: Cluster, namespace: str, pod: str, address: str, port: int) -> bool:
    """Whether a connection from the pod comes about within two seconds."""
    try:
        connect = ("sh", "-c", f"echo | nc -w 2 {address} {port}")
        cluster.kubectl("exec", "-n", namespace, pod, "--", *connect)
    except subprocess.CalledProcessError:
        return False
    return True
