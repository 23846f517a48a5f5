"""The examples: each README's `sh` blocks are commands, run in one shell from the root of the checkout."""

import os
import re
import subprocess
from pathlib import Path

from tests.testbed.paths import REPO

EXAMPLES = sorted((REPO / "examples").glob("[0-9]*"))
SECONDS = 180
ECHO = "exec 2>&1; PS4=$'\\n$ '; set -x\n"  # each command before its output


def script(example: Path) -> str:
    """All `sh` blocks of an example's README, in order."""
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```$", (example / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return "".join(blocks)


def run(example: Path, env_file: Path, *, echo: bool = False) -> subprocess.CompletedProcess[str]:
    """Run an example; echo: show each command and its output as it goes, instead of returning it."""
    prelude = f"set -euo pipefail; source '{env_file}'; " + (ECHO if echo else "\n")
    output = None if echo else subprocess.PIPE
    return subprocess.run(
        ["bash", "-c", prelude + script(example)],
        cwd=REPO,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ.copy(),
    )
