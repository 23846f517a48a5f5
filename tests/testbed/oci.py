"""Images as files and over the registry API: an OCI layout in, an image in a registry out."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from tests.testbed.errors import ClusterError

CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TIMEOUT_S = 60.0

# The registry is on this machine: a proxy from the environment must not come between.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def repository(name: str) -> tuple[str, str]:
    """(repository, tag) under which a mirror of every registry keeps an image name."""
    path, _, tag = name.rpartition(":") if ":" in name.rsplit("/", 1)[-1] else (name, "", "latest")
    first, _, rest = path.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        if first in ("docker.io", "index.docker.io") and "/" not in rest:
            return f"library/{rest}", tag
        return rest, tag
    return (path if rest else f"library/{path}"), tag


def write_layout(directory: Path, layer: Path, settings: dict[str, Any], architecture: str) -> None:
    """Turn a gzipped layer tar, already in `directory`, into a one-layer OCI layout."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    with gzip.open(layer) as plain:
        diff = hashlib.sha256()
        while chunk := plain.read(1 << 20):
            diff.update(chunk)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff.hexdigest()}"]},
        "history": [{"created_by": "slipway testbed"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _put(blobs, json.dumps(config).encode(), CONFIG),
        "layers": [_adopt(blobs, layer, LAYER)],
    }
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [_put(blobs, json.dumps(manifest).encode(), MANIFEST)],
    }
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def push_archive(registry: str, archive: Path, name: str) -> None:
    """Push the first image of an OCI layout, a directory or a tar of one, to a registry as `name`."""
    if archive.is_dir():
        push(registry, name, lambda path: (archive / path).read_bytes())
        return
    with tarfile.open(archive) as tar:

        def member(path: str) -> bytes:
            for candidate in (path, f"./{path}"):
                try:
                    file = tar.extractfile(candidate)
                except KeyError:
                    continue
                if file is not None:
                    return file.read()
            raise ClusterError(f"{archive} is no OCI layout: it has no {path}")

        push(registry, name, member)


def push(registry: str, name: str, read: Callable[[str], bytes]) -> None:
    """Push the first image of the layout that `read` gives the files of; what is there is not sent again."""
    repo, tag = repository(name)
    base = f"http://{registry}/v2/{repo}"
    descriptor = json.loads(read("index.json"))["manifests"][0]
    raw = read(_blob(descriptor))
    if _exists(f"{base}/manifests/{tag}", descriptor["digest"]):
        return
    manifest = json.loads(raw)
    if "manifests" in manifest:
        raise ClusterError(f"{name}: an index of several platforms; give an archive of one")
    for part in [manifest["config"], *manifest["layers"]]:
        if _exists(f"{base}/blobs/{part['digest']}"):
            continue
        where = _call("POST", f"{base}/blobs/uploads/").headers["Location"]
        target = urljoin(base, where)
        joint = "&" if urlsplit(target).query else "?"
        _call("PUT", f"{target}{joint}{urlencode({'digest': part['digest']})}", read(_blob(part)))
    _call("PUT", f"{base}/manifests/{tag}", raw, descriptor.get("mediaType", MANIFEST))


def _exists(url: str, digest: str | None = None) -> bool:
    try:
        answer = _call("HEAD", url)
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        return False
    return digest is None or answer.headers.get("Docker-Content-Digest") == digest


def _call(method: str, url: str, body: bytes | None = None, kind: str = "application/octet-stream") -> Any:
    headers = {
        "Content-Type": kind,
        "Accept": f"{MANIFEST}, application/vnd.docker.distribution.manifest.v2+json",
    }
    data = io.BytesIO(body) if body is not None else b"" if method == "POST" else None
    headers["Content-Length"] = str(len(body or b""))
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    with _opener.open(request, timeout=TIMEOUT_S) as answer:
        answer.read()
        return answer


def _blob(descriptor: dict[str, Any]) -> str:
    return "blobs/" + str(descriptor["digest"]).replace(":", "/")


def _put(blobs: Path, content: bytes, kind: str) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


def _adopt(blobs: Path, file: Path, kind: str) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    file.rename(blobs / digest)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": (blobs / digest).stat().st_size}
