"""A cluster somebody gave us by its kubeconfig: used, never made, changed or deleted."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.testbed.binaries import bin_dir
from tests.testbed.errors import ClusterError
from tests.testbed.interface import Cluster, Status
from tests.testbed.tools import which

ADDRESS_TYPES = ("ExternalIP", "InternalIP")


class GivenCluster(Cluster):
    """Registry and node address, which a kubeconfig does not tell, come from the environment.

    `SLIPWAY_TEST_REGISTRY`: host:port of a registry that host, nodes and pods reach. `SLIPWAY_NODE_ADDRESS`:
    where node ports answer; without it, the first node's own address.
    """

    kind = "given"

    def __init__(self, kubeconfig: Path) -> None:
        if not kubeconfig.is_file():
            raise ClusterError(f"no kubeconfig at {kubeconfig}")
        self.kubeconfig_path = kubeconfig
        self.name = kubeconfig.stem

    @property
    def registry(self) -> str | None:
        """From the environment, or none."""
        return os.environ.get("SLIPWAY_TEST_REGISTRY") or None

    @property
    def node_address(self) -> str:
        """From the environment, or the first node's."""
        if own := os.environ.get("SLIPWAY_NODE_ADDRESS"):
            return own
        return address_of(self._nodes())

    def kubectl_program(self) -> str:
        """The one on the PATH, else one that was built here."""
        built = bin_dir() / "kubectl"
        found = which("kubectl") or (str(built) if built.exists() else None)
        if found is None:
            raise ClusterError("kubectl is not on the PATH")
        return found

    def create(self) -> None:
        """See that it answers."""
        status = self.status()
        if not status.up:
            raise ClusterError(f"the cluster of {self.kubeconfig_path} cannot be used: {status.problem}")

    def delete(self) -> None:
        """Nothing: it is not ours."""

    def status(self) -> Status:
        """Whether it answers, and whether a node is ready."""
        try:
            nodes = self._nodes()
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            said = getattr(error, "stderr", None) or str(error)
            return self._status(False, said.strip().splitlines()[-1], None)
        ready = any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for node in nodes
            for condition in node["status"].get("conditions", [])
        )
        address = os.environ.get("SLIPWAY_NODE_ADDRESS") or address_of(nodes)
        return self._status(ready, None if ready else "no node is ready", address)

    def restart(self, component: str, grace_s: float = 10.0) -> None:
        """Not with a cluster that is not ours."""
        raise ClusterError(f"{component} of a given cluster is not ours to restart")

    def _status(self, ready: bool, problem: str | None, address: str | None) -> Status:
        where = str(self.kubeconfig_path)
        return Status(self.kind, ready, ready, where, self.registry, address, problem=problem)

    def _nodes(self) -> list[dict[str, Any]]:
        found = json.loads(self.kubectl("get", "nodes", "-o", "json", "--request-timeout=10s", timeout=20))
        return list(found["items"])


def address_of(nodes: list[dict[str, Any]]) -> str:
    """Where the first node's ports answer."""
    for kind in ADDRESS_TYPES:
        for node in nodes:
            for address in node["status"].get("addresses", []):
                if address["type"] == kind:
                    return str(address["address"])
    raise ClusterError("no node has an address")
