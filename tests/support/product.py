"""Slipway itself on a cluster: installed from crds/ and manifests/, operator and gateway run beside it."""

import base64
import hashlib
import json
import os
import shlex
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.testbed import processes
from tests.testbed.errors import ClusterError
from tests.testbed.files import write_whole
from tests.testbed.interface import Cluster
from tests.testbed.paths import REPO
from tests.testbed.plan import choose_ports, port_free
from tests.testbed.progress import Progress

SYSTEM = "slipway-system"
PREFERRED_PORTS = {"gateway": 8080, "operator": 8081, "gateway-2": 8090, "operator-2": 8091}
PROGRAMS = {"operator": ["operator/main.py"], "gateway": ["-m", "api_gateway.app"]}
PORT_SETTINGS = {"operator": "SLIPWAY_PROBE_PORT", "gateway": "SLIPWAY_PORT"}
TOKEN_LIFE = "8760h"
START_SECONDS = 60.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is no proxy's business


@dataclass(frozen=True)
class Product:
    """Operator and gateway as processes, each with its own ServiceAccount's token and rights.

    A process has the name of what it runs; the second one of a pair is called `operator-2`, `gateway-2`.
    """

    cluster: Cluster
    progress: Progress
    home: Path = REPO / ".slipway"

    @property
    def gateway(self) -> str:
        """The gateway's URL."""
        return self.url("gateway")

    def url(self, name: str) -> str:
        """Where a process answers: a gateway to its clients, an operator to probes."""
        return f"http://127.0.0.1:{self.ports()[name]}"

    @property
    def env_file(self) -> Path:
        return self.home / "env"

    def log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def up(self, settings: Mapping[str, str] = {}) -> None:
        """Install, start what does not run or is out of date, and wait until both answer."""
        with self.progress.step("installing CRDs, namespaces and RBAC"):
            self.install()
        with self.progress.step("starting operator and gateway"):
            for name in PROGRAMS:
                self.spawn(name, settings)
            for name in PROGRAMS:
                self.wait_ready(name)
        self._write_env()

    def down(self) -> None:
        """End the processes; what they made in the cluster stays."""
        for name in PREFERRED_PORTS:
            self.stop(name)
        for path in (self.env_file, self.home / "ports.json", *self.home.glob("slipway-*.kubeconfig")):
            path.unlink(missing_ok=True)
        for folder in ("processes", "logs"):
            shutil.rmtree(self.home / folder, ignore_errors=True)

    def running(self) -> bool:
        return all(processes.alive(self.record(name)) for name in PROGRAMS)

    def record(self, name: str) -> processes.Record | None:
        return processes.load(self.home / "processes", name)

    def stop(self, name: str, grace_seconds: float = 10.0) -> None:
        record = self.record(name)
        if record:
            processes.end([(record.pid, record.started)], grace_seconds)
            (self.home / "processes" / f"{name}.json").unlink(missing_ok=True)

    def install(self) -> None:
        apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=slipway-install")
        self.cluster.kubectl(*apply, "-f", str(REPO / "crds"))
        self.cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(REPO / "crds"))
        self.cluster.kubectl(*apply, "-k", str(REPO / "manifests" / "base"))

    def kubeconfig(self, account: str) -> Path:
        """A kubeconfig of one ServiceAccount, made once for each cluster."""
        path = self.home / f"{account}.kubeconfig"
        admin = yaml.safe_load(self.cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "yaml"))
        if path.exists() and yaml.safe_load(path.read_text())["clusters"] == admin["clusters"]:
            return path
        token = self.cluster.kubectl("create", "token", account, "-n", SYSTEM, f"--duration={TOKEN_LIFE}").strip()
        cluster = admin["clusters"][0]["name"]
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": admin["clusters"],
            "users": [{"name": account, "user": {"token": token}}],
            "contexts": [{"name": account, "context": {"cluster": cluster, "user": account}}],
            "current-context": account,
        }
        write_whole(path, yaml.safe_dump(content), mode=0o600)
        return path

    def ports(self) -> dict[str, int]:
        """Where they listen: chosen once, and kept."""
        path = self.home / "ports.json"
        ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        if ports.keys() != PREFERRED_PORTS.keys():
            ports = choose_ports(PREFERRED_PORTS, port_free)
            write_whole(path, json.dumps(ports))
        return ports

    def spawn(self, name: str, settings: Mapping[str, str] = {}) -> None:
        """Start it, unless it runs already and is up to date."""
        program = name.partition("-")[0]
        arguments = PROGRAMS[program]
        kubeconfig = self.kubeconfig(f"slipway-{program}")
        environment = {
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": f"{REPO / 'operator'}:{REPO}",
            PORT_SETTINGS[program]: str(self.ports()[name]),
            **settings,
        }
        fingerprint = _fingerprint(arguments, environment, kubeconfig)
        record = self.record(name)
        if record and processes.alive(record) and record.fingerprint == fingerprint:
            return
        self.stop(name)
        absolute = [str(REPO / a) if a.endswith(".py") else a for a in arguments]
        processes.spawn(
            name,
            [sys.executable, *absolute],
            env={**os.environ, **environment},
            log=self.log(name),
            directory=self.home / "processes",
            fingerprint=fingerprint,
        )

    def wait_ready(self, name: str) -> None:
        url, deadline = f"{self.url(name)}/readyz", time.monotonic() + START_SECONDS
        while text(url) is None:
            if not processes.alive(self.record(name)) or time.monotonic() > deadline:
                raise ClusterError(f"{name} is not ready at {url}:\n{processes.tail(self.log(name))}")
            time.sleep(0.1)

    def _write_env(self) -> None:
        exports = {
            "SLIPWAY_GATEWAY": self.gateway,
            "KUBECONFIG": str(self.cluster.kubeconfig_path),
            "SLIPWAY_REGISTRY": self.cluster.registry or "",
            "SLIPWAY_NODE": self.cluster.node_address,
        }
        lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
        folders = (Path(program).absolute().parent for program in (sys.executable, self.cluster.kubectl_program()))
        lines += [f'export PATH="$PATH:"{shlex.quote(str(folder))}' for folder in folders]
        write_whole(self.env_file, "\n".join(lines) + "\n")


def text(url: str) -> str | None:
    """What a GET gives within two seconds; None while nothing answers 200."""
    try:
        with DIRECT.open(url, timeout=2) as response:
            return str(response.read().decode()).strip()
    except OSError:  # URLError is one
        return None


def _fingerprint(arguments: list[str], environment: Mapping[str, str], kubeconfig: Path) -> str:
    """Of what a process was started with: command, settings, cluster, code."""
    tuned = {k: v for k, v in os.environ.items() if k.startswith(("SLIPWAY_", "STACK_"))}
    digest = hashlib.sha256(json.dumps([arguments, dict(environment), tuned], sort_keys=True).encode())
    digest.update(kubeconfig.read_bytes())
    for source in sorted([*(REPO / "operator").rglob("*.py"), *(REPO / "api_gateway").rglob("*.py")]):
        digest.update(source.read_bytes())
    return base64.b32encode(digest.digest()[:10]).decode()


def rest(method: str, url: str, body: Any = None, timeout: float = 60.0) -> tuple[int, Any]:
    """One JSON call: (status, decoded body)."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with DIRECT.open(request, timeout=timeout) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
