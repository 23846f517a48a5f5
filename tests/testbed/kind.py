"""kind, through pytest-kind, with a registry beside it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
from functools import cached_property
from pathlib import Path
from string import Template
from typing import Any

from tests.testbed.binaries import kubernetes_version
from tests.testbed.errors import ClusterError
from tests.testbed.given import address_of
from tests.testbed.interface import Cluster, Status
from tests.testbed.paths import TEMPLATES, Paths, cache_dir
from tests.testbed.progress import Progress
from tests.testbed.state import State, save
from tests.testbed.tools import output, succeeds, which

NAME = "slipway-testbed"
REGISTRY = f"{NAME}-registry"
REGISTRY_IMAGE = "registry:2"
# The first kind whose nodes read registry hosts from /etc/containerd/certs.d by themselves is 0.27.
KIND_VERSION = "v0.30.0"
HOSTS = "/etc/containerd/certs.d/_default/hosts.toml"
SERVICES = ("kubelet", "containerd")


class KindCluster(Cluster):
    """One kind node and one registry container in a Docker that works."""

    kind = "kind"
    name = NAME

    def __init__(self, paths: Paths | None = None, progress: Progress | None = None) -> None:
        self.paths = paths or Paths()
        self.progress = progress or Progress()
        self.kubeconfig_path = self.paths.kubeconfig

    @cached_property
    def _kind(self) -> Any:
        # pytest-kind reads these when it is imported; its own defaults are years old.
        os.environ.setdefault("KIND_VERSION", KIND_VERSION)
        os.environ.setdefault("KUBECTL_VERSION", kubernetes_version())
        programs = {f"{name}_path": self._program(name) for name in ("kind", "kubectl")}
        self.kubeconfig_path.parent.mkdir(parents=True, exist_ok=True)
        made: Any = importlib.import_module("pytest_kind").KindCluster(NAME, self.kubeconfig_path, **programs)
        # It makes a directory in the working directory, for programs that we keep in the cache.
        with contextlib.suppress(OSError):
            made.path.rmdir()
            made.path.parent.rmdir()
        return made

    def _program(self, name: str) -> Path:
        """The one on the PATH, else where pytest-kind shall put the one that it fetches."""
        if found := which(name):
            return Path(found)
        directory = cache_dir() / "kind" / KIND_VERSION
        directory.mkdir(parents=True, exist_ok=True)
        return directory / name

    @property
    def registry(self) -> str | None:
        """The registry container, at its address in kind's network: host, node and pods reach it there."""
        template = '{{(index .NetworkSettings.Networks "kind").IPAddress}}'
        try:
            address = output("docker", "inspect", "--format", template, REGISTRY).strip()
        except ClusterError:
            return None
        return f"{address}:5000" if address else None

    @property
    def node_address(self) -> str:
        """The node container's address."""
        return address_of(self._nodes())

    def kubectl_program(self) -> str:
        """The one on the PATH, else pytest-kind fetches one."""
        self._kind.ensure_kubectl()
        return str(self._kind.kubectl_path)

    def create(self) -> None:
        """Create or find the cluster and its registry."""
        save(self.paths, State(self.kind, str(self.paths.repo)), [self.paths.state_file])
        with self.progress.step("creating the kind cluster"):
            self._kind.create()
        if self.registry is None:
            with self.progress.step("starting its registry"):
                succeeds("docker", "rm", "--force", REGISTRY)
                output(
                    "docker",
                    "run",
                    "-d",
                    "--name",
                    REGISTRY,
                    "--network",
                    "kind",
                    REGISTRY_IMAGE,
                    timeout=300,
                )
        # Without a `server` line, what this registry lacks comes from where its name says.
        hosts = Template((TEMPLATES / "hosts.toml").read_text()).substitute(registry=f"{REGISTRY}:5000")
        script = f"mkdir -p {Path(HOSTS).parent} && cat > {HOSTS}"
        for node in self._node_names():
            output("docker", "exec", "-i", node, "sh", "-c", script, stdin=hosts)
        with self.progress.step("waiting for the node"):
            self.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s")
        self.progress.say("the cluster is up")

    def delete(self) -> None:
        """Delete the cluster, its registry and our files."""
        self._kind.ensure_kind()
        self._kind.delete()
        succeeds("docker", "rm", "--force", "--volumes", REGISTRY)
        for file in (self.paths.kubeconfig, self.paths.state_file):
            file.unlink(missing_ok=True)

    def status(self) -> Status:
        """Whether its nodes are ready."""
        try:
            ready = "True" in self.kubectl(
                "get", "nodes", "-o", "jsonpath={..status.conditions[?(@.type=='Ready')].status}"
            )
            address = self.node_address
        except (subprocess.SubprocessError, OSError, ClusterError) as error:
            return Status(self.kind, False, False, str(self.kubeconfig_path), problem=str(error))
        registry = self.registry
        return Status(self.kind, ready and registry is not None, ready, str(self.kubeconfig_path), registry, address)

    def restart(self, component: str, grace_s: float = 10.0) -> None:
        """Restart a service of the node, or a container of the control plane, which kubelet brings back."""
        node = self._node_names()[0]
        if component in SERVICES:
            output("docker", "exec", node, "systemctl", "restart", component)
        else:
            stop = f"crictl ps -q --name '^{component}$' | xargs -r crictl stop --timeout {int(grace_s)}"
            output("docker", "exec", node, "sh", "-c", stop)
        self.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s")

    def _nodes(self) -> list[dict[str, Any]]:
        return list(json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"])

    def _node_names(self) -> list[str]:
        return output(str(self._kind.kind_path), "get", "nodes", "--name", NAME).split()
