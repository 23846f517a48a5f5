"""Asking the cluster's own programs, all on loopback, how they are."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.testbed.paths import Paths
from tests.testbed.plan import NODE, Plan

TIMEOUT_S = 3.0


def answers(url: str, context: ssl.SSLContext | None = None) -> bool:
    """Whether a URL answers 200."""
    return fetch(url, context) is not None


def fetch(url: str, context: ssl.SSLContext | None = None) -> bytes | None:
    """What a URL answers with 200; None for anything else."""
    # No proxy of the environment comes between us and loopback.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context or _trusting())
    )
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            body: bytes = answer.read()
            return body
    except (OSError, ValueError):
        return None


def admin(paths: Paths) -> ssl.SSLContext | None:
    """The admin's TLS identity; None before there is one."""
    try:
        context = ssl.create_default_context(cafile=str(paths.pki("ca.crt")))
        context.load_cert_chain(paths.pki("admin.crt"), paths.pki("admin.key"))
    except (OSError, ssl.SSLError):
        return None
    return context


def listens(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(TIMEOUT_S)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def node_ready(paths: Paths, plan: Plan) -> bool:
    """Whether the node takes pods: ready and without taints."""
    node = _get(paths, plan, f"/api/v1/nodes/{NODE}")
    if node is None:
        return False
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    return ready and not node["spec"].get("taints") and not node["spec"].get("unschedulable")


def pods_can_start(paths: Paths, plan: Plan) -> bool:
    """Whether the node is ready and a pod would find its ServiceAccount."""
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    return node_ready(paths, plan) and _get(paths, plan, account) is not None


def _get(paths: Paths, plan: Plan, path: str) -> dict[str, Any] | None:
    context = admin(paths)
    body = fetch(plan.url("kube-apiserver", path, "https"), context) if context else None
    found: dict[str, Any] | None = json.loads(body) if body else None
    return found


def _trusting() -> ssl.SSLContext:
    # For health endpoints on loopback, whose certificates their programs made for themselves.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
