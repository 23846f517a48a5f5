"""Children of a Stack: whole manifests, and the properties that matter on their own.

`UPDATE_GOLDEN=1 pytest tests/unit/test_stack_builder.py` writes tests/golden/stack/*.yaml anew; read the diff.
"""

import copy
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.api.kinds import POD
from slipway.api.meta import TENANT
from slipway.api.stack import Stack
from slipway.builders.stack import StackChildren, build, build_pod
from slipway.errors import InvalidInput
from slipway.rules.names import short_hash, stack_name, stack_pod_name
from slipway.rules.pod_spec import SanitizedPod
from tests.support.golden import golden
from tests.support.objects import LIMITS, a_stack, clean, parsed
from tests.support.pods import APP, TARGET_PORT, change, good_container, good_template

PORT = 30123
LARGEST = 2**53 - 1

WORK = {"name": "work", "mountPath": "/prep"}
RICH = good_template(
    {
        "metadata.labels": {"team": "red", "app.kubernetes.io/component": "web"},
        "metadata.annotations": {"note": "for the players"},
        "spec.initContainers": [
            good_container("prepare", command=["cp", "/flag", "/prep"], volumeMounts=[WORK]),
            good_container("proxy", restartPolicy="Always"),
        ],
        "spec.containers[1]": good_container("db", env=[{"name": "MODE", "value": ""}]),
        f"{APP}.env": [{"name": "FLAG_PATH", "value": "/prep/flag"}],
        f"{APP}.volumeMounts": [WORK | {"readOnly": True}],
        f"{APP}.readinessProbe": {"httpGet": {"path": "/", "port": TARGET_PORT}, "periodSeconds": 2},
        "spec.volumes": [{"name": "work", "emptyDir": {"sizeLimit": "16Mi"}}],
        "spec.restartPolicy": "Never",
        "spec.terminationGracePeriodSeconds": 30,
    }
)  # fmt: skip


def built(template: Any = None, egress: tuple[str, ...] = (), **spec: Any) -> StackChildren:
    return build(parsed(a_stack(template=template, **spec)), clean(template), PORT, egress)


def pod_of(template: Any, user: int = 1, uid: str = "") -> dict[str, Any]:
    resource = a_stack(user, template=template)
    resource["metadata"]["uid"] = uid or resource["metadata"]["uid"]
    return build_pod(parsed(resource), clean(template))


@pytest.mark.parametrize(
    ("name", "children"),
    [("minimal", built()), ("rich", built(RICH, ("10.20.0.0/16", "2001:db8::/32")))],
    ids=["minimal", "rich"],
)
def test_manifests(name: str, children: StackChildren) -> None:
    parts = asdict(children)
    documents = [parts["pod"], parts["service"], parts["network_policy"]]
    assert documents == golden(f"stack/{name}.yaml", documents)


@pytest.mark.parametrize("template", [good_template(), RICH], ids=["minimal", "rich"])
def test_every_container_is_hardened(template: Any) -> None:
    check_hardened(pod_of(template))


def check_hardened(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
        requests, limits = (container["resources"][part] for part in ("requests", "limits"))
        assert {k: v for k, v in limits.items() if k != "ephemeral-storage"} == {
            k: v for k, v in requests.items() if k != "ephemeral-storage"
        }
        assert "ephemeral-storage" in limits
    forbidden = {"hostNetwork", "hostPID", "hostIPC", "nodeName", "serviceAccountName", "serviceAccount", "hostUsers"}
    assert not forbidden & spec.keys()
    owned = {"app.kubernetes.io/name": "stack", "app.kubernetes.io/managed-by": "slipway"}
    assert pod["metadata"]["labels"].items() >= owned.items()


ATTACKS = [
    ("spec.securityContext", {"runAsUser": 0}),
    ("spec.securityContext", {}),
    ("spec.automountServiceAccountToken", True),
    ("spec.automountServiceAccountToken", False),
    ("spec.enableServiceLinks", True),
    ("spec.enableServiceLinks", False),
    ("spec.hostNetwork", True),
    ("spec.hostNetwork", False),
    ("spec.hostPID", False),
    ("spec.shareProcessNamespace", True),
    ("spec.shareProcessNamespace", False),
    ("spec.serviceAccountName", "admin"),
    ("spec.nodeName", "node-1"),
    ("spec.hostUsers", True),
    (f"{APP}.securityContext", {"privileged": True}),
    (f"{APP}.securityContext", None),
    (f"{APP}.securityContext", {"capabilities": {"add": ["SYS_ADMIN"]}}),
    ("spec.initContainers", [good_container("init", securityContext={"privileged": True})]),
    ("spec.initContainers", [good_container("init")]),
    ("metadata.labels", {"app.kubernetes.io/name": "mine"}),
    ("metadata.labels", {"app.kubernetes.io/managed-by": "helm"}),
    ("metadata.labels", {"slipway.dev/uid": "another"}),
    ("metadata.labels", {"team": "red"}),
    ("metadata.name", "mine"),
    ("metadata.namespace", "kube-system"),
]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(ATTACKS), max_size=4))
def test_no_accepted_template_softens_anything(attacks: list[tuple[str, Any]]) -> None:
    template = good_template()
    for path, value in attacks:
        change(template, path, copy.deepcopy(value))
    try:
        pod = pod_of(template)
    except InvalidInput:
        return
    check_hardened(pod)
    assert pod["metadata"]["namespace"] == "stacks"
    assert pod["metadata"]["labels"]["slipway.dev/uid"] == "uid-1-2"


def test_even_a_sanitizer_that_fails_softens_nothing() -> None:
    """The builder has the last word: what it sets is written over the template."""
    bad = {
        "containers": [{**good_container("app"), "securityContext": {"privileged": True}}],
        "securityContext": {"runAsUser": 0},
        "automountServiceAccountToken": True,
        "enableServiceLinks": True,
    }
    ours = {"app.kubernetes.io/managed-by": "x", "slipway.dev/uid": "another"}
    pod = build_pod(parsed(a_stack()), SanitizedPod(ours, {}, bad, 1, 1))
    check_hardened(pod)
    assert pod["metadata"]["labels"]["slipway.dev/uid"] == "uid-1-2"


def test_the_grace_period_is_short_unless_asked_for() -> None:
    assert pod_of(good_template())["spec"]["terminationGracePeriodSeconds"] == 5
    asked = good_template({"spec.terminationGracePeriodSeconds": 0})
    assert pod_of(asked)["spec"]["terminationGracePeriodSeconds"] == 0


def test_every_child_is_owned_by_the_stack() -> None:
    for child in asdict(built()).values():
        assert child["metadata"]["namespace"] == "stacks"
        assert child["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "slipway.dev/v1alpha1",
                "kind": "Stack",
                "name": "stack-1-2",
                "uid": "uid-1-2",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]


def test_service_and_policy_pick_this_very_stack() -> None:
    children = built()
    labels = children.pod["metadata"]["labels"]
    for chosen in (children.service["spec"]["selector"], children.network_policy["spec"]["podSelector"]["matchLabels"]):
        assert chosen == {"slipway.dev/uid": "uid-1-2"}
        assert chosen.items() <= labels.items()


def test_nothing_goes_out_unless_a_setting_says_so() -> None:
    assert built().network_policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not built().network_policy["spec"].get("egress")
    open_to = built(egress=("10.0.0.0/8",)).network_policy["spec"]["egress"]
    assert open_to == [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]


def test_players_come_in_on_the_target_port_alone() -> None:
    assert built().network_policy["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": TARGET_PORT}]}]
    (port,) = built().service["spec"]["ports"]
    assert (port["port"], port["targetPort"], port["nodePort"]) == (TARGET_PORT, TARGET_PORT, PORT)


def test_building_is_pure() -> None:
    stack = parsed(a_stack(template=RICH))
    before = stack.model_dump()
    first = build(stack, clean(RICH), PORT, ("10.0.0.0/8",))
    assert first == build(stack, clean(RICH), PORT, ("10.0.0.0/8",))
    assert stack.model_dump() == before


def test_the_pod_is_another_for_another_template_or_stack() -> None:
    names = [
        pod_of(good_template())["metadata"]["name"],
        pod_of(good_template(), uid="another")["metadata"]["name"],
        pod_of(good_template({f"{APP}.image": "other:1"}))["metadata"]["name"],
        pod_of(good_template(), user=3)["metadata"]["name"],
    ]
    assert len(set(names)) == len(names)
    assert names[0] == "stack-1-2-" + short_hash("uid-1-2", good_template())


def test_the_order_of_keys_makes_no_other_pod() -> None:
    template = good_template()
    turned = dict(reversed(template.items()))
    assert stack_pod_name("stack-1-2", "u", template) == stack_pod_name("stack-1-2", "u", turned)


@settings(max_examples=30)
@given(st.integers(1, LARGEST), st.integers(1, LARGEST), st.from_regex(TENANT, fullmatch=True))
def test_names_fit_a_label(user: int, problem: int, tenant: str) -> None:
    pair = stack_name(user, problem, tenant)
    for name in (pair, stack_pod_name(pair, "u" * 36, {})):
        assert len(name) <= 63
        assert name[0].isalpha()
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


PAIR = st.tuples(st.integers(1, 999), st.integers(1, 999), st.sampled_from(("", "blue", "blue-1", "1")))


@settings(max_examples=30)
@given(PAIR, PAIR)
def test_no_two_pairs_share_a_name(one: tuple[int, int, str], other: tuple[int, int, str]) -> None:
    assert (stack_name(*one) == stack_name(*other)) == (one == other)


def test_the_longest_names_stay_names() -> None:
    resource = a_stack(LARGEST, LARGEST)
    stack: Stack = parsed(resource)
    children = build(stack, clean(), PORT, ())
    for child in asdict(children).values():
        assert len(child["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in child["metadata"]["labels"].values())
    assert children.pod["kind"] == POD.kind
    assert clean().cpu_milli <= LIMITS.cpu_milli
