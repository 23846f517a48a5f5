"""Whether the watches still bring what happens: what a sweep saw first must reach us by watch as well."""

from time import monotonic

from slipway.api.kinds import Kind
from slipway.api.meta import Object
from slipway.cache import version

DEAF_SECONDS = 30.0
"""A watch that is merely slow, or was just opened anew, brings a change sooner than that."""


class Hearing:
    """Changes that a sweep found, until the watch brings them; but no deletions, which a watch opened anew skips."""

    def __init__(self) -> None:
        self._missed: dict[str, tuple[Kind, int, float]] = {}  # UID -> (kind, version, since when)

    def missed(self, kind: Kind, obj: Object) -> None:
        self._missed.setdefault(obj["metadata"]["uid"], (kind, version(obj), monotonic()))

    def heard(self, change: str | None, obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        if uid in self._missed and (change == "DELETED" or version(obj) >= self._missed[uid][1]):
            del self._missed[uid]

    def gone(self, obj: Object) -> None:
        self._missed.pop(obj["metadata"]["uid"], None)

    def deaf(self) -> str | None:
        """What the watches do not bring any more; None while all is well. Safe to call from another thread."""
        now = monotonic()
        kinds = {kind.plural for kind, _, since in list(self._missed.values()) if now - since > DEAF_SECONDS}
        return f"the watch of {', '.join(sorted(kinds))} is deaf" if kinds else None
