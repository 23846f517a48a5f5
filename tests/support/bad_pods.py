"""Pod templates that must be refused, each with the field to blame: for sanitize, for REST and for kubectl.

Every template is plain JSON data that survives YAML; `pod_yaml` makes of one what a REST client sends.
"""

from dataclasses import dataclass
from typing import Any

from tests.support.pods import APP, REMOVED, TARGET_PORT, good_container, good_template, pod_yaml

__all__ = ["APP", "BAD_PODS", "TARGET_PORT", "BadPod", "good_container", "good_template", "pod_yaml"]


@dataclass(frozen=True)
class BadPod:
    """field: path to blame, below the template; fragment: part of what is said of it."""

    id: str
    template: dict[str, Any]
    field: str
    fragment: str

    def path(self, root: str) -> str:
        """The path to blame where the template is called `root`."""
        return f"{root}.{self.field}"


def _bad(name: str, changes: dict[str, Any], fragment: str, field: str = "") -> BadPod:
    """field: the first of the changed paths, if not given."""
    return BadPod(name, good_template(changes), field or next(iter(changes)), fragment)


PORT = {"containerPort": TARGET_PORT}
SCRATCH = {"name": "scratch", "emptyDir": {}}
MOUNT = {"name": "scratch", "mountPath": "/data"}
GET = {"httpGet": {"port": TARGET_PORT}}
INIT = "spec.initContainers[0]"


def _init(**more: Any) -> dict[str, Any]:
    return {"spec.initContainers": [good_container("init", **more)]}


def _label(key: str, fragment: str) -> BadPod:
    return _bad(f"label-{key.replace('/', '-')}", {"metadata.labels": {key: "x"}}, fragment, f"metadata.labels[{key}]")


def _pod(field: str, value: Any, fragment: str) -> BadPod:
    return _bad(f"pod-{field}-{value}", {f"spec.{field}": value}, fragment)


def _volume(kind: str) -> BadPod:
    volumes = [{"name": "v", kind: {}}]
    return _bad(f"volume-{kind}", {"spec.volumes": volumes}, "emptyDir is the only kind", f"spec.volumes[0].{kind}")


def _scratch(field: str, value: Any, fragment: str) -> BadPod:
    volumes = [{"name": "v", "emptyDir": {field: value}}]
    return _bad(f"scratch-{field}", {"spec.volumes": volumes}, fragment, f"spec.volumes[0].emptyDir.{field}")


def _mount(field: str, value: Any, fragment: str) -> BadPod:
    changes = {f"{APP}.volumeMounts": [MOUNT | {field: value}], "spec.volumes": [SCRATCH]}
    return _bad(f"mount-{field}-{value}", changes, fragment, f"{APP}.volumeMounts[0].{field}")


def _app(field: str, value: Any, fragment: str, item: str = "") -> BadPod:
    """item: the path below the field, if it is not the field itself that is to blame."""
    shown = str(value)[:30] if value is not REMOVED else "removed"
    return _bad(f"{field}-{shown}", {f"{APP}.{field}": value}, fragment, f"{APP}.{field}{item}")


SHAPE = [
    _bad("wrong-api-version", {"apiVersion": "apps/v1"}, "must be v1"),
    _bad("wrong-kind", {"kind": "Deployment"}, "must be Pod"),
    _bad("status", {"status": {}}, "Kubernetes sets it"),
    _bad("unknown-top-field", {"data": {}}, "metadata and spec only"),
    _bad("spec-missing", {"spec": REMOVED}, "is required"),
    _bad("spec-null", {"spec": None}, "is required"),
    _bad("spec-list", {"spec": []}, "must be a mapping"),
    _bad("metadata-text", {"metadata": "x"}, "must be a mapping"),
    _bad("no-containers", {"spec.containers": []}, "1 to 8 items"),
    _bad("nine-containers", {"spec.containers": [good_container(f"c{n}") for n in range(9)]}, "1 to 8 items"),
    _bad("containers-mapping", {"spec.containers": {}}, "must be a list"),
    _bad("container-null", {"spec.containers[1]": None}, "must be a mapping"),
]
METADATA = [
    _bad("name-number", {"metadata.name": 7}, "put it in quotes"),
    _bad("namespace-list", {"metadata.namespace": []}, "must be a string"),
    _bad("owner-references", {"metadata.ownerReferences": []}, "the Stack owns its pod"),
    _bad("finalizers", {"metadata.finalizers": ["example.com/hold"]}, "nothing may hold up"),
    _bad("uid", {"metadata.uid": "7c0ff7a0-0000-4000-8000-000000000000"}, "Kubernetes sets it"),
    _bad("creation-timestamp", {"metadata.creationTimestamp": "2026-01-01T00:00:00Z"}, "Kubernetes sets it"),
    _bad("cluster-name", {"metadata.clusterName": "x"}, "labels and annotations only"),
    _label("slipway.dev/stack", "Slipway's own"),
    _label("app.kubernetes.io/managed-by", "Slipway's own"),
    _label("app.kubernetes.io/name", "Slipway's own"),
    _label("kueue.x-k8s.io/queue-name", "without a prefix"),
    _bad("label-value-number", {"metadata.labels.tier": 1}, "put it in quotes"),
    _bad("label-value-syntax", {"metadata.labels.tier": "-a"}, "a letter or digit at both ends"),
    _bad("label-value-long", {"metadata.labels.tier": "a" * 64}, "0 to 63 characters"),
    _bad("many-labels", {"metadata.labels": {f"k{n}": "v" for n in range(33)}}, "at most 32 entries"),
    _bad(
        "prefixed-annotation",
        {"metadata.annotations": {"container.apparmor.security.beta.kubernetes.io/app": "unconfined"}},
        "without a prefix",
        "metadata.annotations[container.apparmor.security.beta.kubernetes.io/app]",
    ),
    _bad("long-annotation", {"metadata.annotations.note": "x" * 4097}, "0 to 4096 characters"),
]
POD = [
    _pod("hostNetwork", True, "set it to false"),
    _pod("hostNetwork", 0, "set it to false"),
    _pod("hostPID", True, "set it to false"),
    _pod("hostIPC", True, "set it to false"),
    _pod("shareProcessNamespace", True, "set it to false"),
    _pod("enableServiceLinks", True, "set it to false"),
    _pod("automountServiceAccountToken", True, "set it to false"),
    _pod("hostUsers", True, "is not allowed"),
    _pod("hostAliases", [], "the same for every stack"),
    _pod("securityContext", {}, "not even empty"),
    _pod("securityContext", None, "not even empty"),
    _pod("nodeName", "node-1", "the scheduler chooses"),
    _pod("nodeSelector", {"a": "b"}, "the scheduler chooses"),
    _pod("affinity", {}, "the scheduler chooses"),
    _pod("tolerations", [{"operator": "Exists"}], "the scheduler chooses"),
    _pod("topologySpreadConstraints", [], "the scheduler chooses"),
    _pod("schedulerName", "mine", "default scheduler"),
    _pod("schedulingGates", [{"name": "a"}], "nothing may hold up"),
    _pod("readinessGates", [], "nothing may hold up"),
    _pod("serviceAccount", "default", "no service account"),
    _pod("serviceAccountName", "admin", "no service account"),
    _pod("runtimeClassName", "runc", "the same runtime"),
    _pod("priority", 2_000_000_000, "the same priority"),
    _pod("priorityClassName", "system-node-critical", "the same priority"),
    _pod("preemptionPolicy", "Never", "the same priority"),
    _pod("ephemeralContainers", [], "every container in containers"),
    _pod("imagePullSecrets", [{"name": "s"}], "no Secret references"),
    _pod("dnsPolicy", "ClusterFirst", "the same for every stack"),
    _pod("dnsConfig", {"nameservers": ["10.0.0.1"]}, "the same for every stack"),
    _pod("overhead", {"cpu": "1m"}, "Kubernetes sets it"),
    _pod("resourceClaims", [], "no devices"),
    _pod("resources", {}, "in each container"),
    _pod("os", {"name": "windows"}, "Linux"),
    _pod("hostNetwrok", False, "allowed: initContainers, containers"),
    _pod("restartPolicy", "Sometimes", "one of Always, OnFailure, Never"),
    _pod("terminationGracePeriodSeconds", 61, "from 0 to 60"),
    _pod("activeDeadlineSeconds", 0, "from 1 to"),
    _pod("hostname", "Not_A_Label", "DNS label"),
]
VOLUMES = [
    *map(
        _volume, ["hostPath", "secret", "configMap", "projected", "persistentVolumeClaim", "downwardAPI", "csi", "nfs"]
    ),
    _bad("volume-of-no-kind", {"spec.volumes": [{"name": "v"}]}, "is required", "spec.volumes[0].emptyDir"),
    _bad("volume-twice", {"spec.volumes": [SCRATCH, SCRATCH]}, "more than once", "spec.volumes[1].name"),
    _scratch("medium", "HugePages", '"", Memory'),
    _scratch("sizeLimit", "1Ti", "at most 10Gi"),
    _app("volumeMounts", [MOUNT], "must name one of", "[0].name"),
    _bad(
        "mount-twice",
        {f"{APP}.volumeMounts": [MOUNT, MOUNT | {"mountPath": "/data/./"}], "spec.volumes": [SCRATCH]},
        "more than once",
        f"{APP}.volumeMounts[1].mountPath",
    ),
    _mount("mountPath", "data", "absolute"),
    _mount("mountPath", "//", "must not be /"),
    _mount("mountPath", "/data/../proc", "'..'"),
    _mount("mountPath", "/proc/", "nor lie in"),
    _mount("mountPath", "/./sys/fs", "nor lie in"),
    _mount("mountPath", "/dev", "nor lie in"),
    _mount("mountPath", "/var/run/secrets/kubernetes.io/serviceaccount", "nor lie in"),
    _mount("subPath", "a/../../b", "'..'"),
    _mount("subPath", "/etc", "relative"),
    _mount("subPathExpr", "$(A)", "allowed: name"),
    _mount("mountPropagation", "Bidirectional", "allowed: name"),
]
CONTAINERS = [
    _app("securityContext", {"privileged": True}, "not even empty"),
    _app("securityContext", {"capabilities": {"add": ["SYS_ADMIN"]}}, "not even empty"),
    _app("securityContext", {}, "not even empty"),
    _bad("init-security-context", _init(securityContext={}), "not even empty", f"{INIT}.securityContext"),
    _app("lifecycle", {"preStop": {"exec": {"command": ["x"]}}}, "no lifecycle hooks"),
    _app("volumeDevices", [], "no block devices"),
    _app("resizePolicy", [], "is not resized"),
    _app("terminationMessagePath", "/dev/termination-log", "leave it out"),
    _app("priviledged", True, "allowed: name, image"),
    _app("name", "App", "DNS label"),
    _bad("name-twice", {"spec.initContainers": [good_container("app")]}, "more than once", f"{APP}.name"),
    _app("image", REMOVED, "is required"),
    _app("image", "nginx latest", "image reference"),
    _app("image", "https://ghcr.io/example/problem", "image reference"),
    _app("image", "nginx@sha256:12", "image reference"),
    _app("image", "a" * 513, "1 to 512 characters"),
    _app("imagePullPolicy", "Sometimes", "one of Always, IfNotPresent, Never"),
    _app("command", "sleep 1", "must be a list"),
    _app("args", ["-p", 80], "put it in quotes", "[1]"),
    _app("args", ["a\0b"], "control characters", "[0]"),
    _app("args", ["x"] * 65, "at most 64 items"),
    _app("workingDir", "srv", "absolute"),
    _app("workingDir", "/srv/../..", "'..'"),
    _app("stdin", "yes", "true or false"),
    _app("envFrom", [{"secretRef": {"name": "s"}}], "no Secret or ConfigMap"),
    _app("env", [{"name": "A", "valueFrom": {"secretKeyRef": {}}}], "only plain values", "[0].valueFrom"),
    _app("env", [{"name": "A=B", "value": "c"}], "must be letters", "[0].name"),
    _app("env", [{"name": "..A"}], "must be letters", "[0].name"),
    _app("env", [{"name": "A", "value": 1}], "put it in quotes", "[0].value"),
    _app("env", [{"name": "B", "value": True}], "put it in quotes", "[0].value"),
    _app("env", [{"name": "A"}, {"name": "A"}], "more than once", "[1].name"),
    _app("restartPolicy", "Always", "only for initContainers"),
    _bad("init-restart-policy", _init(restartPolicy="Never"), "must be Always", f"{INIT}.restartPolicy"),
]
PORTS = [
    _bad("no-port", {f"{APP}.ports": []}, "exactly one port in all, not 0", "spec.containers"),
    _bad("ports-missing", {f"{APP}.ports": REMOVED}, "exactly one port in all, not 0", "spec.containers"),
    _bad("two-ports", {f"{APP}.ports[1]": {"containerPort": 22}}, "not 2", "spec.containers"),
    _bad("second-container", {"spec.containers[1]": good_container(ports=[PORT])}, "not 2", "spec.containers"),
    _bad("init-port", _init(ports=[PORT]), "only containers may", f"{INIT}.ports"),
    _app("ports[0].hostPort", 80, "a node port of its own"),
    _app("ports[0].hostIP", "0.0.0.0", "a node port of its own"),
    _app("ports[0].containerPort", 8080, "must equal the target port, 5000"),
    _app("ports[0].containerPort", "5000", "whole number from 1 to 65535"),
    _app("ports[0].containerPort", True, "whole number from 1 to 65535"),
    _app("ports[0].containerPort", 65536, "whole number from 1 to 65535"),
    _app("ports[0].name", "a--b", "port name"),
    _app("ports[0].protocol", "UDP", "must be TCP"),
]
RESOURCES = [
    _app("resources", REMOVED, "is required"),
    _app("resources", {}, "in requests or in limits", ".requests.cpu"),
    _app("resources", {"limits": {"cpu": 1}}, "in requests or in limits", ".requests.memory"),
    _bad("init-no-resources", _init(resources=None), "is required", f"{INIT}.resources"),
    _app("resources.limits.cpu", "0", "at least 1m"),
    _app("resources.limits.cpu", "-1", "not negative"),
    _app("resources.limits.cpu", "one", "must be a quantity"),
    _app("resources.requests.memory", "256m", "at least 1Mi"),
    _app("resources.requests.memory", True, "must be a quantity"),
    _app("resources.requests.memory", "1e99", "64 bits"),
    _app("resources.limits", {"nvidia.com/gpu": 1}, "allowed: cpu, memory", "[nvidia.com/gpu]"),
    _app("resources.limits", {"ephemeral-storage": "11Gi"}, "at most 10Gi", "[ephemeral-storage]"),
    _app("resources.claims", [], "no devices"),
    _bad("cpu-limit", {f"{APP}.resources.limits.cpu": "2001m"}, "(STACK_MAX_CPU), not 2001m", "spec.containers"),
    _bad("memory-limit", {f"{APP}.resources.limits.memory": "1Gi"}, "(STACK_MAX_MEMORY), not 1Gi", "spec.containers"),
    _bad("cpu-sum", {"spec.containers[1]": good_container(cpu="1600m")}, "STACK_MAX_CPU", "spec.containers"),
    _bad("memory-sum", {"spec.containers[1]": good_container(memory="257Mi")}, "STACK_MAX_MEMORY", "spec.containers"),
    _bad("init-peak", _init(cpu="3"), "STACK_MAX_CPU", "spec.containers"),
    _bad("sidecar-sum", _init(cpu="1600m", restartPolicy="Always"), "STACK_MAX_CPU", "spec.containers"),
]
PROBES = [
    _app("livenessProbe", {"httpGet": {"port": 80, "host": "169.254.169.254"}}, "the pod itself", ".httpGet.host"),
    _app("readinessProbe", {"tcpSocket": {"port": 80, "host": "10.0.0.1"}}, "the pod itself", ".tcpSocket.host"),
    _app("startupProbe", {}, "exactly one of"),
    _app("startupProbe", GET | {"exec": {"command": ["true"]}}, "exactly one of"),
    _app("readinessProbe", GET | {"periodSeconds": 0}, "from 1 to 3600", ".periodSeconds"),
    _app("livenessProbe", {"successThreshold": 2} | GET, "must be 1", ".successThreshold"),
    _app("livenessProbe", {"httpGet": {"port": "web"}}, "a port of this container", ".httpGet.port"),
    _app(
        "livenessProbe",
        {"httpGet": {"port": 80, "httpHeaders": [{"name": "X", "value": "a\nb"}]}},
        "one line",
        ".httpGet.httpHeaders[0].value",
    ),
    _bad("init-probe", _init(readinessProbe=GET), "for sidecars", f"{INIT}.readinessProbe"),
]

BAD_PODS: list[BadPod] = [*SHAPE, *METADATA, *POD, *VOLUMES, *CONTAINERS, *PORTS, *RESOURCES, *PROBES]
