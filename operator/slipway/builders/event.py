"""Kubernetes Events: what `kubectl describe` and `kubectl events` show of a resource."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from slipway.api.kinds import EVENT, GROUP, Kind
from slipway.api.meta import Object, ObjectMeta
from slipway.rules.names import short_hash

CONTROLLER = f"{GROUP}/operator"
NAME_LENGTH = 253
WORD_LENGTH = 128  # of reason, action and reportingInstance
NOTE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell about a resource.

    reason: CamelCase. action: the verb of what was done, or failed. once: with the reason, what makes two tellings the
    same one: of a condition, when it became so.
    """

    type: Literal["Normal", "Warning"]
    reason: str
    action: str
    note: str
    once: tuple[str | int | None, ...]


def build(kind: Kind, metadata: ObjectMeta, notice: Notice, now: datetime, instance: str) -> Object:
    """The same notice has the same name, so that telling it twice is refused. instance: the reporting host."""
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": _name(metadata, notice), "namespace": metadata.namespace},
        "regarding": {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
        },
        "type": notice.type,
        "reason": notice.reason[:WORD_LENGTH],
        "action": notice.action[:WORD_LENGTH],
        "note": _shortened(notice.note),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:WORD_LENGTH],
        "eventTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


def _name(metadata: ObjectMeta, notice: Notice) -> str:
    digest = short_hash(metadata.uid, notice.reason, *notice.once)
    return f"{metadata.name[: NAME_LENGTH - len(digest) - 1].rstrip('.-')}.{digest}"


def _shortened(note: str) -> str:
    """Within the bytes that an Event may take, and still whole characters."""
    text = note.encode(errors="replace")
    if len(text) <= NOTE_BYTES:
        return text.decode()
    end = "…".encode()
    return (text[: NOTE_BYTES - len(end)].decode(errors="ignore").encode() + end).decode()
