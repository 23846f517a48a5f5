"""Files that are either whole or not there, whenever we are interrupted."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write by a temporary file and a rename; nothing is touched when the text is there already."""
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = partial(path)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    part.rename(path)


@contextmanager
def whole_directory(target: Path) -> Iterator[Path]:
    """A directory to fill that gets its name only when it is complete.

    Whoever comes second with the same one drops his; what killed processes left is swept on the way.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent)
    part = partial(target)
    shutil.rmtree(part, ignore_errors=True)  # of a process that once had our number
    part.mkdir()
    try:
        yield part
        try:
            part.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def partial(target: Path) -> Path:
    """The name of something half-made or half-removed, which tells whose it is."""
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


def sweep(directory: Path) -> None:
    """Remove the half-made directories of processes that are no more."""
    for part in directory.glob(".*.tmp"):
        match = re.fullmatch(r"\..+\.(\d+)\.tmp", part.name)
        if match and not Path("/proc", match[1]).exists():
            shutil.rmtree(part, ignore_errors=True)
            part.unlink(missing_ok=True)
