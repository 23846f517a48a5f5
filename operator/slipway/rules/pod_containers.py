"""The allowlist of a container's fields."""

from typing import Any, Final

from slipway.errors import InvalidInput
from slipway.rules.checks import Check, chain, child, flag, items, number, one_of, record, text, unique
from slipway.rules.pod_resources import resources

DNS_LABEL: Final = text(
    63,
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?",
    "must be a DNS label: lower-case letters, digits and '-', a letter or digit at both ends",
)
PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc")
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - a path in the container
_KEPT_OUT: Final = ("/proc", "/sys", "/dev", "/run/secrets", "/var/run/secrets")

_HOST_PART: Final = r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?"
_HOST: Final = rf"({_HOST_PART}(\.{_HOST_PART})*|\[[0-9a-fA-F:]+\])"
_REPOSITORY_PART: Final = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
IMAGE: Final = text(
    512,
    rf"({_HOST}(:[0-9]{{1,5}})?/)?{_REPOSITORY_PART}(/{_REPOSITORY_PART})*"
    r"(:[A-Za-z0-9_][-.A-Za-z0-9_]{0,127})?(@(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?",
    "must be an image reference, such as ghcr.io/example/problem:1.0",
)

_PORT_NAME: Final = text(
    15,
    r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]*[a-z0-9])?",
    "must be a port name: lower-case letters, digits and single '-', at least one letter",
)
_PORT_NUMBER: Final = number(1, 65535)
_PATH: Final = text(1024, r"[^\t\r\n]+", "must be one line")


def _port(path: str, value: object) -> Any:
    return _PORT_NAME(path, value) if isinstance(value, str) else _PORT_NUMBER(path, value)


def _path(path: str, value: Any) -> str:
    """The steps of a path inside the container, without `.`, `//` and a trailing slash."""
    steps = [step for step in value.split("/") if step not in ("", ".")]
    if ".." in steps or ":" in value:
        raise InvalidInput(path, "must be a path without '..' and ':'")
    return "/".join(steps)


def _absolute(path: str, value: Any) -> str:
    if not value.startswith("/"):
        raise InvalidInput(path, "must be an absolute path")
    return f"/{_path(path, value)}"


def _relative(path: str, value: Any) -> str:
    if value.startswith("/") or not (clean := _path(path, value)):
        raise InvalidInput(path, "must be a relative path")
    return clean


def _mountable(path: str, value: Any) -> Any:
    """Hides nothing that the runtime or the kubelet mounts; /dev/shm is how shared memory is made larger."""
    inside = any(f"{value}/".startswith(f"{place}/") for place in _KEPT_OUT)
    if value == "/" or (inside and value != _SHARED_MEMORY):
        raise InvalidInput(path, f"must not be / nor lie in {', '.join(_KEPT_OUT)}, except {_SHARED_MEMORY}")
    return value


_ENV: Final = record(
    {
        "name": text(253, r"(?!\.$|\.\.)[-._A-Za-z][-._A-Za-z0-9]*", "must be letters, digits, '_', '-' and '.'"),
        "value": text(32768, shortest=0),
    },
    required=["name"],
    refused={"valueFrom": "is not allowed: only plain values, no Secret, ConfigMap or field references"},
)
_CONTAINER_PORT: Final = record(
    {"name": _PORT_NAME, "containerPort": _PORT_NUMBER, "protocol": one_of("TCP")},
    required=["containerPort"],
    refused={
        "hostPort": "is not allowed: a stack gets a node port of its own",
        "hostIP": "is not allowed: a stack gets a node port of its own",
    },
)
_MOUNT: Final = record(
    {
        "name": DNS_LABEL,
        "mountPath": chain(_PATH, _absolute, _mountable),
        "subPath": chain(_PATH, _relative),
        "readOnly": flag,
    },
    required=["name", "mountPath"],
)
_COMMAND: Final = items(text(16384, shortest=0), 64)
_ONLY_ITSELF: Final = {"host": "is not allowed: a probe asks the pod itself"}
_HEADER: Final = record(
    {
        "name": text(128, r"[-A-Za-z0-9]+", "must be the name of an HTTP header: letters, digits and '-'"),
        "value": text(1024, r"[^\r\n]*", "must be one line", shortest=0),
    },
    required=["name", "value"],
)
_PROBE_FIELDS: Final[dict[str, Check]] = {
    "exec": record({"command": items(text(16384, shortest=0), 64, least=1)}, required=["command"]),
    "httpGet": record(
        {
            "path": text(1024, r"[!-~]*", "must be a URL path, percent-encoded", shortest=0),
            "port": _port,
            "scheme": one_of("HTTP", "HTTPS"),
            "httpHeaders": items(_HEADER, 16),
        },
        required=["port"],
        refused=_ONLY_ITSELF,
    ),
    "tcpSocket": record({"port": _port}, required=["port"], refused=_ONLY_ITSELF),
    "grpc": record({"port": _PORT_NUMBER, "service": text(253, shortest=0)}, required=["port"]),
    "initialDelaySeconds": number(0, 3600),
    "timeoutSeconds": number(1, 300),
    "periodSeconds": number(1, 3600),
    "failureThreshold": number(1, 1000),
}


def _one_handler(path: str, value: Any) -> Any:
    if sum(handler in value for handler in _HANDLERS) != 1:
        raise InvalidInput(path, f"must have exactly one of {', '.join(_HANDLERS)}")
    return value


_READY: Final = chain(record(_PROBE_FIELDS | {"successThreshold": number(1, 10)}), _one_handler)
_ALIVE: Final = chain(
    record(_PROBE_FIELDS | {"successThreshold": number(1, 1), "terminationGracePeriodSeconds": number(1, 60)}),
    _one_handler,
)


def _ports_of_probes(path: str, container: Any) -> Any:
    """A port's name must be one of this container's; a number may be any, as a port need not be listed."""
    names = {port.get("name") for port in container.get("ports", ())}
    for probe in PROBES:
        for handler in ("httpGet", "tcpSocket"):
            port = container.get(probe, {}).get(handler, {}).get("port")
            if isinstance(port, str) and port not in names:
                raise InvalidInput(f"{path}.{probe}.{handler}.port", "must be the name of a port of this container")
    return container


def _probes_of_init(path: str, container: Any) -> Any:
    for probe in PROBES:
        if probe in container and "restartPolicy" not in container:
            raise InvalidInput(child(path, probe), "is only for containers, and for sidecars (restartPolicy: Always)")
    return container


_FIELDS: Final[dict[str, Check]] = {
    "name": DNS_LABEL,
    "image": IMAGE,
    "imagePullPolicy": one_of("Always", "IfNotPresent", "Never"),
    "command": _COMMAND,
    "args": _COMMAND,
    "workingDir": chain(_PATH, _absolute),
    "env": chain(items(_ENV, 128), unique("name")),
    "ports": items(_CONTAINER_PORT, 16),
    "resources": resources,
    "volumeMounts": chain(items(_MOUNT, 16), unique("mountPath")),
    "livenessProbe": _ALIVE,
    "readinessProbe": _READY,
    "startupProbe": _ALIVE,
    "stdin": flag,
    "tty": flag,
    "terminationMessagePolicy": one_of("File", "FallbackToLogsOnError"),
}
_REFUSED: Final = {
    "securityContext": "is not allowed, not even empty: every stack gets the same hardened one",
    "lifecycle": "is not allowed: no lifecycle hooks",
    "envFrom": "is not allowed: no Secret or ConfigMap references",
    "volumeDevices": "is not allowed: no block devices",
    "resizePolicy": "is not allowed: a stack is not resized",
    "terminationMessagePath": "is not allowed: leave it out",
}
_REQUIRED: Final = ("name", "image", "resources")

CONTAINER: Final = chain(
    record(_FIELDS, _REQUIRED, _REFUSED | {"restartPolicy": "is only for initContainers"}), _ports_of_probes
)
INIT_CONTAINER: Final = chain(
    record(_FIELDS | {"restartPolicy": one_of("Always")}, _REQUIRED, _REFUSED),
    _ports_of_probes,
    _probes_of_init,
)
