"""Metadata that every child shares."""

from slipway.api.kinds import GROUP, Kind
from slipway.api.meta import Object, Resource

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "slipway"
TENANT = f"{GROUP}/tenant"


def label_of(kind: Kind) -> str:
    """Label on the children of a kind's resources; its value is the resource's name."""
    return f"{kind.group}/{kind.singular}"


UID = f"{GROUP}/uid"
"""Label on every child: UID of its resource."""


def labels(owner: Resource) -> dict[str, str]:
    """Labels by which people and watches find the children of a resource."""
    kind = owner.kind_of
    return {
        "app.kubernetes.io/name": kind.singular,
        MANAGED_BY: MANAGER,
        "app.kubernetes.io/part-of": "slipway",
        label_of(kind): owner.metadata.name,
        UID: owner.metadata.uid,
    }


def selector(owner: Resource) -> dict[str, str]:
    """Picks the pods of this very resource, not of one that had its name before."""
    return {UID: owner.metadata.uid}


def child(kind: Kind, name: str, owner: Resource) -> Object:
    """A child's envelope: it goes when its owner goes."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": owner.metadata.namespace,
            "labels": labels(owner),
            "ownerReferences": [
                {
                    "apiVersion": owner.kind_of.api_version,
                    "kind": owner.kind_of.kind,
                    "name": owner.metadata.name,
                    "uid": owner.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
    }
