"""Every setting, read from the environment once. `slipway config` prints them."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, PlainSerializer, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from slipway.rules.durations import parse_duration
from slipway.rules.pod_spec import PodLimits
from slipway.rules.quantities import cpu_milli, format_cpu, format_memory, memory_bytes
from slipway.rules.stack import Life


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


LONGEST_TTL = 720 * 3600  # seconds; what a Stack's spec.ttl can hold
Duration = Annotated[
    float,
    BeforeValidator(lambda v: parse_duration(v) if isinstance(v, str) else v),
    PlainSerializer(lambda v: f"{v:g}s", return_type=str, when_used="json"),
    Field(gt=0),
]
"""Seconds; written as `2h`, `90s`, `500ms`."""
Cpu = Annotated[
    int,
    BeforeValidator(lambda v: cpu_milli(v) if isinstance(v, str) else v),
    PlainSerializer(format_cpu, return_type=str, when_used="json"),
    Field(gt=0),
]
"""Thousandths of a CPU; written as a Kubernetes quantity."""
Memory = Annotated[
    int,
    BeforeValidator(lambda v: memory_bytes(v) if isinstance(v, str) else v),
    PlainSerializer(format_memory, return_type=str, when_used="json"),
    Field(gt=0),
]
"""Bytes; written as a Kubernetes quantity."""
Networks = Annotated[
    list[IPv4Network | IPv6Network],
    NoDecode,
    BeforeValidator(_split),
    PlainSerializer(lambda v: ",".join(map(str, v)), return_type=str, when_used="json"),
]
"""CIDRs; written with commas between them."""


class Settings(BaseSettings):
    """Names are those of the documented APIs where these give one, else `SLIPWAY_*`."""

    model_config = SettingsConfigDict(env_prefix="SLIPWAY_", frozen=True, populate_by_name=True)

    host: Annotated[str, Field(description="Address the gateway listens on")] = "127.0.0.1"
    port: Annotated[int, Field(description="Port of the gateway", ge=0, le=65535)] = 8080
    namespace: Annotated[str, Field(description="Where operator and gateway are at home")] = "slipway-system"
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"
    log_format: Annotated[str, Field(pattern="^(text|json)$", description="Of the log's lines: text or json")] = "text"
    probe_host: Annotated[str, Field(description="Address of the operator's health and metrics")] = "127.0.0.1"
    probe_port: Annotated[int, Field(description="Port of these; 0: none", ge=0, le=65535)] = 8081
    lease_duration: Annotated[
        Duration,
        Field(description="Another operator takes over when the leader has been silent for so long", ge=3, le=300),
    ] = 10.0

    api_key: Annotated[
        SecretStr | None,
        Field(min_length=16, description="A key that may do everything, sent as X-API-KEY"),
    ] = None
    anonymous: Annotated[
        bool | None,
        Field(description="Let in who brings no credentials; by default only on loopback, and where no key is set"),
    ] = None
    token_life: Annotated[Duration, Field(description="Of a token that the login gives", le=30 * 86400)] = 3600.0
    oidc_issuer: Annotated[str | None, Field(description="OpenID Connect issuer whose tokens are taken as well")] = None
    oidc_audience: Annotated[str, Field(description="What these tokens must name as their audience")] = "slipway"
    oidc_jwks_url: Annotated[
        str | None, Field(description="Where the issuer's keys are; by default its discovery document says it")
    ] = None
    oidc_tenant_claim: Annotated[str, Field(description="Claim that names the tenant")] = "tenant"
    oidc_permissions_claim: Annotated[str, Field(description="Claim with the list of permissions")] = "permissions"
    client_writes: Annotated[
        int, Field(description="Writes a second that one client may send, with bursts of four times that", ge=1)
    ] = 100
    login_attempts: Annotated[
        int, Field(description="Failed logins a minute of one client; ten times that for one user name", ge=1)
    ] = 10
    workers: Annotated[int, Field(description="Resources of one kind reconciled at once", ge=1, le=256)] = 16
    request_timeout: Annotated[Duration, Field(description="Of one call to the API server, with all its tries")] = 10.0

    stack_namespace: Annotated[str, Field(alias="STACK_NAMESPACE", description="Where Stacks and their pods live")] = (
        "stacks"
    )
    stack_max_per_user: Annotated[int, Field(alias="STACK_MAX_PER_USER", description="Stacks of one user", ge=1)] = 5
    stack_ttl: Annotated[Duration, Field(alias="STACK_TTL", description="Life of a Stack that names none")] = 7200.0
    stack_ttl_max: Annotated[
        Duration,
        Field(
            alias="STACK_TTL_MAX", description="The longest life of a Stack, renewals included", ge=1, le=LONGEST_TTL
        ),
    ] = 86400.0
    stack_rate_per_user: Annotated[
        int, Field(alias="STACK_RATE_PER_USER", description="Starts and deletions of one user in a minute", ge=1)
    ] = 60
    stack_scheduler_interval: Annotated[
        Duration, Field(alias="STACK_SCHEDULER_INTERVAL", description="Between two sweeps over all Stacks")
    ] = 10.0
    stack_nodeport_min: Annotated[int, Field(alias="STACK_NODEPORT_MIN", ge=1, le=65535)] = 30000
    stack_nodeport_max: Annotated[int, Field(alias="STACK_NODEPORT_MAX", ge=1, le=65535)] = 32767
    stack_port_lock_ttl: Annotated[
        Duration,
        Field(alias="STACK_PORT_LOCK_TTL", description="How long a port that someone else holds is not tried again"),
    ] = 30.0
    stack_resource_reserve_ratio: Annotated[
        float,
        Field(
            alias="STACK_RESOURCE_RESERVE_RATIO", ge=0, lt=1, description="Share of the nodes that Stacks may not take"
        ),
    ] = 0.20
    stack_scheduling_timeout: Annotated[
        Duration, Field(alias="STACK_SCHEDULING_TIMEOUT", description="A pod without a node by then is refused")
    ] = 20.0
    stack_max_cpu: Annotated[Cpu, Field(alias="STACK_MAX_CPU", description="CPU of one Stack")] = 2000
    stack_max_memory: Annotated[Memory, Field(alias="STACK_MAX_MEMORY", description="Memory of one Stack")] = (
        512 * 2**20
    )
    stack_egress_cidrs: Annotated[
        Networks, Field(alias="STACK_EGRESS_CIDRS", description="Networks a Stack may reach; none by default")
    ] = []

    ddb_stack_table: Annotated[
        str | None,
        Field(
            alias="DDB_STACK_TABLE",
            pattern=r"^([a-zA-Z0-9_.-]{3,255})?$",
            description="DynamoDB table that mirrors the Stacks; none if unset",
        ),
    ] = None
    aws_region: Annotated[str | None, Field(alias="AWS_REGION", description="Region of that table")] = None

    @property
    def pod_limits(self) -> PodLimits:
        """The most that one Stack may request."""
        return PodLimits(self.stack_max_cpu, self.stack_max_memory)

    @property
    def stack_life(self) -> Life:
        return Life(self.stack_ttl, self.stack_ttl_max)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for low, high in (("stack_nodeport_min", "stack_nodeport_max"), ("stack_ttl", "stack_ttl_max")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{variable(low)} must not be above {variable(high)}")
        return self


def load() -> Settings:
    """The settings, or SystemExit with one line for each bad value."""
    try:
        return Settings()
    except ValidationError as error:
        raise SystemExit("\n".join(problems(error))) from None


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return Settings.model_fields[name].alias or f"{Settings.model_config['env_prefix']}{name}".upper()


def problems(error: ValidationError) -> list[str]:
    """One line for each bad value, beginning with its variable."""
    lines = {}
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        lines[name] = f"{variable(name) if name in Settings.model_fields else name or 'settings'}: {problem['msg']}"
    return list(lines.values())
