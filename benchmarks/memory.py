"""What a process of the product takes of the machine's memory."""

import re
from pathlib import Path

from tests.support.product import Product

MEMORY_MB = 120


def memory(product: Product, name: str, field: str = "VmRSS") -> float:
    """MB of the operator or the gateway; field: of /proc/PID/status."""
    record = product.record(name)
    if record is None:
        raise RuntimeError(f"the {name} does not run")
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{record.pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
