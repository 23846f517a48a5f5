"""The base images: made from Debian packages, cached as OCI layouts, pushed by their real names."""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.testbed.debian import IMAGE_NEEDS, ensure_packages, unpack
from tests.testbed.errors import ClusterError
from tests.testbed.files import whole_directory
from tests.testbed.oci import push_archive, write_layout
from tests.testbed.paths import cache_dir
from tests.testbed.progress import Progress, Step
from tests.testbed.tools import contained, follow, output

PAUSE = "registry.k8s.io/pause:3.10"
RECIPE_VERSION = 1  # one more whenever the code below makes something else of the same recipe
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Read by people, not by programs; a slim image leaves them out.
DOCUMENTS = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*")
PYTHON_LINKS = 'for n in python python3 pip pip3; do ln -sf /usr/bin/$n "$1/usr/local/bin/$n"; done'
# Debian forbids pip outside a virtual environment; in the official image pip may install.
PYTHON_PIP = 'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED'


@dataclass(frozen=True)
class Recipe:
    """One image: its name, the packages it is made of, and its configuration."""

    name: str
    make: str  # "static": one static program; "debian": a Debian of its own
    packages: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    hooks: tuple[str, ...] = ()

    def directory(self) -> Path:
        """Where the cache keeps it."""
        recipe = json.dumps([RECIPE_VERSION, asdict(self), platform.machine(), codename()], sort_keys=True)
        return cache_dir() / "images" / hashlib.sha256(recipe.encode()).hexdigest()[:16]


RECIPES = (
    Recipe(PAUSE, "static", ("catatonit",), {"Entrypoint": ["/pause", "-P"], "User": "65535:65535"}),
    Recipe("busybox:1.36", "static", ("busybox-static",), {"Cmd": ["sh"], "Env": [PATH]}),
    Recipe(
        "python:3.11-slim",
        "debian",
        ("python3", "python3-pip", "python-is-python3", "ca-certificates", "netbase"),
        {"Cmd": ["python3"], "Env": [PATH, "LANG=C.UTF-8"]},
        (PYTHON_LINKS, PYTHON_PIP),
    ),
)


def codename() -> str:
    """This Debian's code name, as `bookworm`."""
    release = platform.freedesktop_os_release()
    return release.get("VERSION_CODENAME", release.get("ID", ""))


def ensure_images(progress: Progress) -> None:
    """Make every base image that the cache lacks."""
    for recipe in RECIPES:
        target = recipe.directory()
        if target.is_dir():
            continue
        if recipe.make == "debian":
            ensure_packages(progress, IMAGE_NEEDS)
        with progress.step(f"making the image {recipe.name}") as step, whole_directory(target) as part:
            scratch = part / "scratch"
            scratch.mkdir()
            layer = part / "layer.tar.gz"
            MAKERS[recipe.make](recipe, scratch, layer, step)
            shutil.rmtree(scratch)
            write_layout(part, layer, recipe.config, ARCHITECTURES.get(platform.machine(), platform.machine()))


def push_images(registry: str) -> None:
    """Bring the base images into a registry; quick when they are there."""
    for recipe in RECIPES:
        push_archive(registry, recipe.directory(), recipe.name)


def debian_sources() -> list[str]:
    """The machine's own apt sources of this Debian release, one `deb` line each, without third parties'."""
    release = codename()
    template = "$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(COMPONENT)"
    lines = output("apt-get", "indextargets", "Created-By: Packages", "--format", template).splitlines()
    return sources_from(lines, release)


def sources_from(lines: list[str], release: str) -> list[str]:
    """`deb` lines from apt's `origin|codename|uri|component` lines."""
    found = []
    for line in lines:
        origin, name, uri, component = line.split("|")
        if origin in ("Debian", "Ubuntu") and name.split("-")[0] == release:
            found.append(f"deb {uri} {name} {component}")
    if not found:
        raise ClusterError(f"apt has no sources for {release or 'this system'} (see /etc/apt)")
    return list(dict.fromkeys(found))


def _static(recipe: Recipe, scratch: Path, layer: Path, step: Step) -> None:
    """A file system around one static program: pause, or busybox with a link for each of its applets."""
    for package in recipe.packages:
        unpack(package, scratch / package)
    root = scratch / "root"
    for name in ("bin", "etc", "tmp", "var/tmp", "root", "home", "proc", "sys", "dev", "usr/bin", "var/www"):
        (root / name).mkdir(parents=True)
    if recipe.name == PAUSE:
        shutil.copy2(scratch / "catatonit/usr/bin/catatonit", root / "pause")
    else:
        busybox = scratch / "busybox-static/bin/busybox"
        shutil.copy2(busybox, root / "bin/busybox")
        for applet in output(str(busybox), "--list").split():
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("/bin/busybox")
        (root / "usr/bin/env").symlink_to("/bin/busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    with tarfile.open(layer, "w:gz", compresslevel=6) as tar:
        tar.add(root, arcname=".", filter=_owned_by_root)


def _debian(recipe: Recipe, scratch: Path, layer: Path, step: Step) -> None:
    """A minimal Debian with the recipe's packages, from the machine's own mirror."""
    plain = scratch / "root.tar"
    argv = ["mmdebstrap", "--variant=minbase", f"--include={','.join(recipe.packages)}", "--skip=output/dev"]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in DOCUMENTS]
    argv += [f"--customize-hook={hook}" for hook in recipe.hooks]
    argv += ['--aptopt=Acquire::Languages "none"', codename(), str(plain), *debian_sources()]
    scratch.chmod(0o755)  # apt's own user reads below it
    follow(contained(argv), on_line=lambda line: step.note(line[:80]), env={"TMPDIR": str(scratch)})
    step.note("compressing")
    with plain.open("rb") as source, gzip.GzipFile(layer, "wb", compresslevel=1, mtime=0) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = 0
    return member


MAKERS: dict[str, Callable[[Recipe, Path, Path, Step], None]] = {"static": _static, "debian": _debian}
