"""The one interface, pytest-kind's and a little more, of the given, kind and package-built clusters."""

from __future__ import annotations

import importlib
import os
import subprocess
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.testbed.errors import ClusterError
from tests.testbed.oci import push_archive


@dataclass(frozen=True)
class ComponentStatus:
    """One program of the cluster: `state` is running, unhealthy or stopped."""

    name: str
    state: str
    pid: int | None = None


@dataclass(frozen=True)
class Status:
    """What `status` prints; `up` is whether tests can run."""

    kind: str
    up: bool
    node_ready: bool
    kubeconfig: str
    registry: str | None = None
    node_address: str | None = None
    components: list[ComponentStatus] = field(default_factory=list)
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


class Cluster(ABC):
    """A cluster: `create` it (or find it running), use it, `delete` it."""

    kind: str
    name: str
    kubeconfig_path: Path

    @property
    @abstractmethod
    def registry(self) -> str | None:
        """host:port of a plain-HTTP registry that the host, the nodes and pods reach by this name."""

    @property
    @abstractmethod
    def node_address(self) -> str:
        """The address at which node ports answer this host."""

    @abstractmethod
    def create(self) -> None:
        """Make the cluster usable; quick when it is already, repairs what died."""

    @abstractmethod
    def delete(self) -> None:
        """Remove all of it; a given cluster stays."""

    @abstractmethod
    def status(self) -> Status:
        """How it is, without changing anything."""

    @abstractmethod
    def restart(self, component: str, grace_s: float = 10.0) -> None:
        """Restart e.g. kube-apiserver and wait until it is ready; `grace_s=0` kills it at once."""

    @abstractmethod
    def kubectl_program(self) -> str:
        """The path of kubectl."""

    @cached_property
    def api(self) -> Any:
        """A pykube HTTPClient, made when first asked for."""
        pykube: Any = importlib.import_module("pykube")
        return pykube.HTTPClient(pykube.KubeConfig.from_file(self.kubeconfig_path))

    def kubectl(self, *args: str, input: str | None = None, **kwargs: Any) -> str:  # noqa: A002 - subprocess's name
        """kubectl's standard output; `CalledProcessError`, with its complaint, when it fails."""
        environ = {**os.environ, "KUBECONFIG": str(self.kubeconfig_path)}
        options: dict[str, Any] = {"stderr": subprocess.PIPE, "timeout": 300, "env": environ, **kwargs}
        if input is None:
            options.setdefault("stdin", subprocess.DEVNULL)
        try:
            done = subprocess.run(
                [self.kubectl_program(), *args],
                input=input,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                check=True,
                **options,
            )
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr or "")
            raise
        return str(done.stdout)

    def load_image(self, archive: Path, name: str) -> None:
        """Make the image in an OCI layout, a directory or a tar, pullable as `name` (`python:3.11-slim`)."""
        if self.registry is None:
            raise ClusterError(f"this {self.kind} cluster has no registry to load {name} into")
        push_archive(self.registry, archive, name)
