"""Keys, certificates and kubeconfigs, made with openssl."""

from __future__ import annotations

import base64
from pathlib import Path
from string import Template

from tests.testbed.files import whole_directory, write_whole
from tests.testbed.paths import TEMPLATES, Paths
from tests.testbed.plan import NODE, Plan
from tests.testbed.tools import output

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650", "-batch")
# file name -> subject; Kubernetes' bootstrap roles are bound to these
CLIENTS = {
    "admin": "/O=system:masters/CN=slipway-testbed-admin",
    "kube-apiserver-kubelet-client": "/O=system:masters/CN=kube-apiserver-kubelet-client",
    "front-proxy-client": "/CN=front-proxy-client",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
    "kube-proxy": "/CN=system:kube-proxy",
    "kubelet": f"/O=system:nodes/CN=system:node:{NODE}",
}
NAMES = (
    "localhost",
    "kubernetes",
    *(f"kubernetes.default{end}" for end in ("", ".svc", ".svc.cluster.local")),
)


def ensure_pki(paths: Paths, plan: Plan) -> None:
    """All keys and certificates, once."""
    target = paths.state / "pki"
    if target.is_dir():
        return
    with whole_directory(target) as part:
        part.chmod(0o700)
        authority = ["-x509", "-extensions", "authority", "-subj", "/CN=slipway-testbed"]
        _request(part, "ca", authority)
        addresses = ("127.0.0.1", plan.gateway, plan.first_service)
        alternatives = ",".join([f"DNS:{name}" for name in NAMES] + [f"IP:{address}" for address in addresses])
        _leaf(part, "kube-apiserver", "/CN=kube-apiserver", ["-addext", f"subjectAltName={alternatives}"])
        for name, subject in CLIENTS.items():
            _leaf(part, name, subject, [])
        key = str(part / "service-accounts.key")
        output("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        output("openssl", "pkey", "-in", key, "-pubout", "-out", str(part / "service-accounts.pub"))


def write_kubeconfigs(paths: Paths, plan: Plan) -> None:
    """One for each program that talks to the API server, and the admin's."""
    template = Template((TEMPLATES / "kubeconfig.yaml").read_text())
    for name in (
        "admin",
        *(name for name in CLIENTS if name.startswith("kube") and not name.endswith("client")),
    ):
        text = template.substitute(
            server=plan.url("kube-apiserver", scheme="https"),
            authority=_encoded(paths.pki("ca.crt")),
            certificate=_encoded(paths.pki(f"{name}.crt")),
            key=_encoded(paths.pki(f"{name}.key")),
        )
        write_whole(paths.kubeconfig if name == "admin" else paths.config(f"{name}.kubeconfig"), text, 0o600)


def _leaf(directory: Path, name: str, subject: str, more: list[str]) -> None:
    issuer = ["-CA", str(directory / "ca.crt"), "-CAkey", str(directory / "ca.key")]
    _request(directory, name, ["-x509", *issuer, "-extensions", "leaf", "-subj", subject, *more])


def _request(directory: Path, name: str, more: list[str]) -> None:
    files = ["-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.crt")]
    output("openssl", "req", "-config", str(TEMPLATES / "openssl.cnf"), *KEY, *files, *more)


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
