"""The examples: each README's `sh` blocks are commands, run in one shell from the root of the checkout."""

import os
import re
import shlex
import subprocess
from pathlib import Path

from tests.testbed.paths import REPO

EXAMPLES = sorted((REPO / "examples").glob("[0-9]*"))
SECONDS = 180


def script(example: Path) -> str:
    """All `sh` blocks of an example's README, in order."""
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```$", (example / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return "".join(blocks)


def run(example: Path, env_file: Path, *, echo: bool = False) -> subprocess.CompletedProcess[str]:
    """Run an example; echo: show each command and its output as it goes, instead of returning it."""
    commands = script(example)
    if echo:
        commands = re.sub(r"((?:^.*[|\\]\n)*^.+\n)", _shown, commands, flags=re.MULTILINE)
    prelude = f"set -euo pipefail; source '{env_file}'\n"
    output = None if echo else subprocess.PIPE
    return subprocess.run(
        ["bash", "-c", prelude + commands],
        cwd=REPO,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ.copy(),
    )


def _shown(command: re.Match[str]) -> str:
    """Print a command, with its continued lines, before it runs."""
    return f"printf '\\n$ %s' {shlex.quote(command[0])}\n{command[0]}"
