"""Names of children: deterministic, so that making one twice is refused by the API server."""

import hashlib
import json
from typing import Any


def short_hash(*parts: Any) -> str:
    """Eight hex digits over JSON data; the same for the same data in any key order."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def stack_name(user_id: int, problem_id: int, tenant: str = "") -> str:
    """Name of a pair's Service and NetworkPolicy, and of its Stack where the gateway makes it."""
    scope = f"{short_hash(tenant)}-" if tenant else ""
    return f"stack-{scope}{user_id}-{problem_id}"


def stack_pod_name(pair: str, uid: str, template: dict[str, Any]) -> str:
    """Another Stack or another template means another pod: an old one may take its time to go."""
    return f"{pair}-{short_hash(uid, template)}"
