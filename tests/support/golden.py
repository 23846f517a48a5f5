"""Golden files: whole values kept as YAML, compared as values. UPDATE_GOLDEN=1 writes them anew."""

import os
from pathlib import Path
from typing import Any

import yaml

GOLDEN = Path(__file__).parents[1] / "golden"
HEADER = "# Golden: compared whole by the tests; `UPDATE_GOLDEN=1 pytest tests/unit` writes it anew.\n"


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, _: object) -> bool:
        return True


def golden(name: str, documents: list[Any]) -> list[Any]:
    """What the file holds; assert that `documents` are the same."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=120))
    assert path.exists(), f"{path} is missing: run with UPDATE_GOLDEN=1, and read what it wrote"
    return list(yaml.safe_load_all(path.read_text()))
