"""Stack: one hardened pod on a node port for a (user, problem), until its time is over."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from slipway.api.kinds import STACK
from slipway.api.meta import TENANT, Model, Resource, Status, Time

Identifier = Annotated[int, Field(ge=1, le=2**53 - 1)]  # any JSON client reads it exactly


TTL, TTL_LENGTH = r"^([0-9]+(h|m|s|ms))+$", 32
"""What a duration looks like, and its most characters."""


class Reason(StrEnum):
    """Why a Stack is as it is: the `reason` of its conditions."""

    RUNNING = "Running"
    SCHEDULING = "Scheduling"
    STARTING = "ContainersNotReady"
    # refused: nothing of it is left but the resource
    POD_SPEC_INVALID = "PodSpecInvalid"
    LIMIT_RANGE_EXCEEDED = "LimitRangeExceeded"
    ALREADY_EXISTS = "AlreadyExists"
    USER_LIMIT_REACHED = "UserLimitReached"
    NODE_PORTS_EXHAUSTED = "NodePortsExhausted"
    CLUSTER_SATURATED = "ClusterSaturated"
    RESOURCE_QUOTA_EXCEEDED = "ResourceQuotaExceeded"
    SCHEDULING_TIMEOUT = "SchedulingTimeout"
    REJECTED = "Rejected"
    # over: it ran, or could have
    EXPIRED = "Expired"
    POD_SUCCEEDED = "PodSucceeded"
    POD_FAILED = "PodFailed"
    POD_DELETED = "PodDeleted"
    SERVICE_DELETED = "ServiceDeleted"
    NODE_DELETED = "NodeDeleted"


REFUSED = frozenset(
    {
        Reason.POD_SPEC_INVALID,
        Reason.LIMIT_RANGE_EXCEEDED,
        Reason.ALREADY_EXISTS,
        Reason.USER_LIMIT_REACHED,
        Reason.NODE_PORTS_EXHAUSTED,
        Reason.CLUSTER_SATURATED,
        Reason.RESOURCE_QUOTA_EXCEEDED,
        Reason.SCHEDULING_TIMEOUT,
        Reason.REJECTED,
    }
)
"""Reasons of a Stack that may not run."""

LOST = frozenset({Reason.POD_DELETED, Reason.SERVICE_DELETED, Reason.NODE_DELETED})
"""Reasons of a Stack that lost a part of itself, and is removed for it."""

ENDED_POD = frozenset({Reason.POD_SUCCEEDED, Reason.POD_FAILED})
"""Reasons of a Stack whose pod has run to its end: it stays to be looked at, until its time is over."""


class StackSpec(Model):
    """Who wants what, on which port, for how long."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {"rule": "self.userId == oldSelf.userId", "message": "is immutable", "fieldPath": ".userId"},
                {"rule": "self.problemId == oldSelf.problemId", "message": "is immutable", "fieldPath": ".problemId"},
                {"rule": "self.tenant == oldSelf.tenant", "message": "is immutable", "fieldPath": ".tenant"},
            ]
        }
    )

    tenant: Annotated[
        str,
        Field(
            max_length=63,
            pattern=TENANT,
            description="Whose player it is; users of different tenants have nothing to do with each other. Immutable",
        ),
    ] = ""
    user_id: Annotated[Identifier, Field(description="The player. Immutable")]
    problem_id: Annotated[
        Identifier, Field(description="The challenge; one Stack for each user and problem. Immutable")
    ]
    target_port: Annotated[
        int, Field(ge=1, le=65535, description="The one port that the pod exposes, and the node port leads to")
    ]
    template: Annotated[
        dict[str, Any],
        Field(
            description="The pod: `metadata` and `spec` as in a Deployment's template, judged by an allowlist. "
            "A changed template replaces the pod"
        ),
    ]
    ttl: Annotated[
        str | None,
        Field(
            max_length=TTL_LENGTH,
            pattern=TTL,
            description="How long it lives from its creation (`2h`, `1h30m`), at most the operator's STACK_TTL_MAX; "
            "its STACK_TTL if absent",
            json_schema_extra={
                "x-kubernetes-validations": [
                    {
                        "rule": "duration(self) >= duration('1s') && duration(self) <= duration('720h')",
                        "message": "must be from 1s to 720h",
                    }
                ]
            },
        ),
    ] = None
    on_expiry: Annotated[
        Literal["Delete", "Keep"],
        Field(
            description="At the end of its time: Delete removes the resource; "
            "Keep removes what it runs and leaves the resource Stalled, reason Expired (for GitOps)"
        ),
    ] = "Delete"


class Requested(Model):
    """What the Stack reserves in the cluster, summed over its containers."""

    cpu_milli: Annotated[int, Field(description="Thousandths of a CPU")]
    memory_bytes: int


class StackStatus(Status):
    """Where the Stack runs, and until when."""

    pod_name: Annotated[str | None, Field(max_length=63)] = None
    service_name: Annotated[str | None, Field(max_length=63)] = None
    node_name: Annotated[str | None, Field(max_length=253)] = None
    node_port: Annotated[int | None, Field(description="Answers on every node")] = None
    requested: Requested | None = None
    expires_at: Time | None = None


class Stack(Resource):
    """One hardened pod on a node port for a (user, problem), until its time is over."""

    kind_of = STACK
    columns = (
        ("User", "integer", ".spec.userId"),
        ("Problem", "integer", ".spec.problemId"),
        ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status"),
        ("Reason", "string", ".status.conditions[?(@.type=='Ready')].reason"),
        ("Node-Port", "integer", ".status.nodePort"),
        ("Node", "string", ".status.nodeName"),
        ("Expires", "string", ".status.expiresAt"),
        ("Age", "date", ".metadata.creationTimestamp"),
    )
    validations = (
        {
            "rule": "!self.metadata.name.matches('^stack-[0-9]{1,16}-[0-9]{1,16}$') || "
            "(self.spec.tenant == '' && int(self.metadata.name.find('[0-9]+')) == self.spec.userId && "
            "int(self.metadata.name.find('[0-9]+$')) == self.spec.problemId)",
            "message": "a metadata.name of the form stack-USER-PROBLEM must name this spec's userId and problemId, "
            "and is for Stacks of no tenant",
        },
    )

    spec: StackSpec
    status: StackStatus = StackStatus()

    @property
    def observed(self) -> bool:
        """Whether the status speaks of the spec as it is now."""
        return self.status.observed_generation == self.metadata.generation
