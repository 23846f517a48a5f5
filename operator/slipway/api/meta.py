"""What every kind shares: the object envelope, conditions, and the base model that writes camelCase."""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from slipway.api.kinds import GROUP, Kind

Object = dict[str, Any]
"""A Kubernetes object as plain JSON data."""


REQUEST = f"{GROUP}/request"
"""Annotation of what the gateway made for a client who waits for the verdict: refused, it does not stay."""


TENANT = r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$"
"""What a tenant's name looks like, so that it is a label's value too; empty: none."""


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes `metav1.Time`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[datetime, PlainSerializer(timestamp, return_type=str, when_used="json")]


class Model(BaseModel):
    """A part of a resource: camelCase on the wire, unknown fields kept out."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    def to_object(self) -> Object:
        """Plain JSON data without the fields that are unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Condition(Model):
    """One observation about the resource, as `metav1.Condition`."""

    type: Annotated[str, Field(max_length=64)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(description="CamelCase, for programs", max_length=128)]
    message: Annotated[str, Field(description="For people", max_length=2048)] = ""
    last_transition_time: Time
    observed_generation: int | None = None


Conditions = Annotated[
    list[Condition],
    Field(
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


class ObjectMeta(Model):
    """The part of `metav1.ObjectMeta` that Slipway reads."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Status(Model):
    """What every status has, in the form that kstatus, `kubectl wait` and Flux read."""

    observed_generation: Annotated[int, Field(description="The generation this status speaks of; -1: none yet")] = -1
    conditions: Conditions = []

    def condition(self, type_: str) -> Condition | None:
        return next((c for c in self.conditions if c.type == type_), None)

    @property
    def stalled(self) -> Condition | None:
        """The terminal failure, if there is one."""
        condition = self.condition("Stalled")
        return condition if condition and condition.status == "True" else None


class Resource(Model):
    """A custom resource. Its docstring is the description that `kubectl explain` shows.

    columns: what `kubectl get` prints, as (name, type, JSONPath). validations: CEL rules over the whole object.
    """

    kind_of: ClassVar[Kind]
    columns: ClassVar[tuple[tuple[str, str, str], ...]]
    validations: ClassVar[tuple[dict[str, str], ...]] = ()

    metadata: ObjectMeta
