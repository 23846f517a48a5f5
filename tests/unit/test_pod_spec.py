"""The verdict on a stack's pod: what is refused, what is made of the rest."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.errors import InvalidInput
from slipway.rules.pod_spec import PodLimits, SanitizedPod, sanitize
from slipway.rules.pod_yaml import parse_pod
from tests.support.bad_pods import BAD_PODS, BadPod
from tests.support.pods import APP, TARGET_PORT, change, good_container, good_template, pod_yaml

LIMITS = PodLimits(cpu_milli=2000, memory_bytes=512 * 2**20)


def verdict(template: Any, root: str = "template") -> SanitizedPod:
    return sanitize(template, TARGET_PORT, LIMITS, root)


@pytest.mark.parametrize("bad", BAD_PODS, ids=lambda bad: bad.id)
def test_refused_in_a_resource_and_over_rest(bad: BadPod) -> None:
    with pytest.raises(InvalidInput) as refused:
        verdict(bad.template)
    assert refused.value.field == bad.path("template")
    assert bad.fragment in refused.value.expected
    assert "\n" not in str(refused.value)
    with pytest.raises(InvalidInput) as refused:
        verdict(parse_pod(pod_yaml(bad.template)), root="pod_spec")
    assert refused.value.field == bad.path("pod_spec")
    assert bad.fragment in refused.value.expected


def test_the_table_is_a_table() -> None:
    assert len(BAD_PODS) >= 60
    assert len({bad.id for bad in BAD_PODS}) == len(BAD_PODS)
    for bad in BAD_PODS:
        assert json.loads(json.dumps(bad.template)) == bad.template


@pytest.mark.parametrize("template", [None, [], "pod", 1, True])
def test_a_template_is_a_mapping(template: Any) -> None:
    with pytest.raises(InvalidInput, match="template: must be a mapping"):
        verdict(template)


def test_keys_are_strings_and_are_quoted_safely() -> None:
    for key, shown in ((5, "[5]"), ("a\nb", "['a\\\\nb']"), ("x" * 5000, "['" + "x" * 60 + "']")):
        with pytest.raises(InvalidInput) as refused:
            verdict(good_template() | {key: 1})
        assert refused.value.field == "template" + shown.replace("\\\\", "\\")


def test_the_pod_of_the_documentation() -> None:
    pod = verdict(parse_pod(pod_yaml(good_template())))
    amounts = {"cpu": "500m", "memory": "256Mi"}
    assert pod == SanitizedPod(
        labels={},
        annotations={},
        spec={
            "containers": [
                {
                    "name": "app",
                    "image": "ghcr.io/example/problem:latest",
                    "ports": [{"containerPort": 5000, "protocol": "TCP"}],
                    "resources": {"requests": amounts, "limits": amounts},
                }
            ]
        },
        cpu_milli=500,
        memory_bytes=256 * 2**20,
    )


EVERYTHING = good_template(
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "x",
            "generateName": "x-",
            "namespace": "elsewhere",
            "creationTimestamp": None,
            "labels": {"tier": "web", "app.kubernetes.io/version": "1.0", "empty": ""},
            "annotations": {"note": "two\nlines"},
        },
        "spec.restartPolicy": "Never",
        "spec.terminationGracePeriodSeconds": 0,
        "spec.activeDeadlineSeconds": 3600,
        "spec.hostname": "web",
        "spec.hostNetwork": False,
        "spec.automountServiceAccountToken": False,
        "spec.volumes": [
            {"name": "scratch", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "65536Ki"}},
        ],
        "spec.initContainers": [
            good_container("copy", command=["cp", "-r", "/a", "/b"]),
            good_container("proxy", restartPolicy="Always", readinessProbe={"tcpSocket": {"port": 9000}}),
        ],
        f"{APP}.command": ["sh", "-c"],
        f"{APP}.args": ["exec\nserve $(PORT)", ""],
        f"{APP}.workingDir": "/srv/",
        f"{APP}.imagePullPolicy": "IfNotPresent",
        f"{APP}.env": [{"name": "PORT", "value": "5000"}, {"name": "EMPTY"}],
        f"{APP}.ports[0].name": "web",
        f"{APP}.volumeMounts": [
            {"name": "scratch", "mountPath": "/data//in/", "subPath": "./in", "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
        f"{APP}.livenessProbe": {
            "httpGet": {"port": "web", "path": "/", "scheme": "HTTP"},
            "periodSeconds": 5,
        },
        f"{APP}.readinessProbe": {"exec": {"command": ["true"]}, "successThreshold": 2},
        f"{APP}.startupProbe": {"grpc": {"port": 5000, "service": ""}, "failureThreshold": 30},
        f"{APP}.stdin": True,
        f"{APP}.tty": False,
        f"{APP}.terminationMessagePolicy": "FallbackToLogsOnError",
    }
)


def test_everything_that_is_allowed() -> None:
    pod = verdict(EVERYTHING)
    assert pod.labels == {"tier": "web", "app.kubernetes.io/version": "1.0", "empty": ""}
    assert pod.annotations == {"note": "two\nlines"}
    assert set(pod.spec) == {
        "activeDeadlineSeconds",
        "containers",
        "hostname",
        "initContainers",
        "restartPolicy",
        "terminationGracePeriodSeconds",
        "volumes",
    }
    app = pod.spec["containers"][0]
    assert app["workingDir"] == "/srv"
    assert app["volumeMounts"][0] == {
        "name": "scratch",
        "mountPath": "/data/in",
        "subPath": "in",
        "readOnly": True,
    }
    assert pod.spec["volumes"][1] == {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}
    for field in (
        "command",
        "args",
        "env",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "stdin",
        "tty",
    ):
        assert app[field] == EVERYTHING["spec"]["containers"][0][field]


def test_sanitized_pods_are_accepted_as_they_are() -> None:
    pod = verdict(EVERYTHING)
    again = verdict({"metadata": {"labels": pod.labels, "annotations": pod.annotations}, "spec": pod.spec})
    assert again == pod


def test_null_means_absent() -> None:
    template = good_template({"metadata": None, "spec.volumes": None, f"{APP}.env": None})
    assert verdict(template) == verdict(good_template())


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"requests": {"cpu": "500m", "memory": "64Mi"}}, {"cpu": "500m", "memory": "64Mi"}),
        ({"limits": {"cpu": 1, "memory": 67108864}}, {"cpu": "1", "memory": "64Mi"}),
        (
            {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "0.2", "memory": "64Mi"}},
            {"cpu": "200m", "memory": "128Mi"},
        ),
        ({"requests": {"cpu": 0.25}, "limits": {"memory": "1e8"}}, {"cpu": "250m", "memory": "100000000"}),
        (
            {"limits": {"cpu": "1u", "memory": "1.5Mi", "ephemeral-storage": "1Gi"}},
            {"cpu": "1m", "memory": "1536Ki", "ephemeral-storage": "1Gi"},
        ),
    ],
)
def test_requests_and_limits_become_equal(given: Any, made: Any) -> None:
    pod = verdict(good_template({f"{APP}.resources": given}))
    assert pod.spec["containers"][0]["resources"] == {"requests": made, "limits": made}


@pytest.mark.parametrize(
    ("init", "cpu", "memory_mib"),
    [
        ([], 500, 256),
        ([("100m", "64Mi", None)], 500, 256),  # over before the others start
        ([("1", "64Mi", None), ("700m", "300Mi", None)], 1000, 300),  # the larger of each
        ([("100m", "64Mi", "Always")], 600, 320),  # runs beside the others
        (
            [("300m", "64Mi", "Always"), ("900m", "64Mi", None)],
            1200,
            320,
        ),  # and beside later ones at the start
        ([("900m", "64Mi", None), ("300m", "64Mi", "Always")], 900, 320),  # but not earlier ones
    ],
)
def test_effective_request(init: list[tuple[str, str, str | None]], cpu: int, memory_mib: int) -> None:
    containers = [
        good_container(f"init-{n}", of_cpu, of_memory, restartPolicy=policy)
        for n, (of_cpu, of_memory, policy) in enumerate(init)
    ]
    pod = verdict(good_template({"spec.initContainers": containers}))
    assert (pod.cpu_milli, pod.memory_bytes) == (cpu, memory_mib * 2**20)


def test_exactly_the_limit_fits() -> None:
    pod = verdict(good_template({f"{APP}.resources": {"limits": {"cpu": 2, "memory": "512Mi"}}}))
    assert (pod.cpu_milli, pod.memory_bytes) == (LIMITS.cpu_milli, LIMITS.memory_bytes)


@pytest.mark.parametrize(
    "image",
    [
        "nginx",
        "nginx:1.27-alpine",
        "library/nginx",
        "ghcr.io/example/problem__x/a.b-c:latest",
        "localhost:5000/a",
        "Registry.Example.com/a/b@sha256:" + "0" * 64,
        "[::1]:5000/a:b",
    ],
)
def test_images(image: str) -> None:
    assert verdict(good_template({f"{APP}.image": image})).spec["containers"][0]["image"] == image


@pytest.mark.parametrize(
    "image", ["", ":tag", "/a", "a/", "a//b", "UPPER", "a:b:c", "a b", "a\n", "-a", "a" * 400 + "!"]
)
def test_no_images(image: str) -> None:
    with pytest.raises(InvalidInput):
        verdict(good_template({f"{APP}.image": image}))


def test_disk_is_bounded_for_the_whole_pod() -> None:
    more = good_container(resources={"limits": {"cpu": "1m", "memory": "1Mi", "ephemeral-storage": "6Gi"}})
    changes = {f"{APP}.resources.limits.ephemeral-storage": "6Gi", "spec.containers[1]": more}
    with pytest.raises(InvalidInput, match="at most 10Gi ephemeral-storage in all"):
        verdict(good_template(changes))


def test_a_pod_is_bounded_as_a_whole() -> None:
    env = [{"name": f"V{n}", "value": "x" * 30000} for n in range(5)]
    with pytest.raises(InvalidInput, match="template: must be at most 128 KiB as JSON"):
        verdict(good_template({f"{APP}.env": env}))


def test_the_input_is_left_alone_and_not_shared() -> None:
    template = copy.deepcopy(EVERYTHING)
    pod = verdict(template)
    assert template == EVERYTHING
    scribble(pod.spec)
    pod.labels.clear()
    pod.annotations.clear()
    assert template == EVERYTHING


def test_requests_and_limits_are_not_one_object() -> None:
    resources = verdict(good_template()).spec["containers"][0]["resources"]
    assert resources["requests"] is not resources["limits"]


def scribble(value: Any) -> None:
    """Spoil every list and mapping."""
    for item in list(value.values() if isinstance(value, dict) else value):
        if isinstance(item, dict | list):
            scribble(item)
    value.clear()


LETTERS = st.text("aA0-_./$ \n\0é☃\ud800", max_size=6)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    LETTERS,
    st.sampled_from(["Always", "500m", "a/b", "app", "/dev", "Memory"]),
)
NAMES = LETTERS | st.sampled_from(["metadata", "spec", "containers", "name", "securityContext", "resources"])
JUNK = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
PLACES = st.sampled_from(
    [f"{APP}.{field}" for field in EVERYTHING["spec"]["containers"][0]]
    + [f"spec.{field}" for field in EVERYTHING["spec"]]
    + ["spec", "metadata", "metadata.labels", f"{APP}.ports[0].containerPort", f"{APP}.resources.limits.cpu"]
    + ["spec.volumes[0].emptyDir", f"{APP}.env[0].value", f"{APP}.livenessProbe.httpGet.port", "odd"]
)


def judge(template: Any) -> None:
    """Either a refusal in words, or a pod that is JSON and passes again unchanged."""
    try:
        pod = verdict(template)
    except InvalidInput as refused:
        check_words(refused)
        return
    json.dumps(pod.spec, allow_nan=False).encode()
    assert verdict({"metadata": {"labels": pod.labels, "annotations": pod.annotations}, "spec": pod.spec}) == pod


def check_words(refused: InvalidInput) -> None:
    assert refused.field.startswith("template")
    assert "\n" not in str(refused)
    assert str(refused).encode()


@settings(max_examples=50, deadline=None)
@given(JUNK)
def test_junk_is_refused_in_words(junk: Any) -> None:
    judge(junk)


@settings(max_examples=100, deadline=None)
@given(PLACES, JUNK)
def test_junk_anywhere_is_refused_in_words(place: str, junk: Any) -> None:
    template = copy.deepcopy(EVERYTHING)
    change(template, place, junk)
    judge(template)
