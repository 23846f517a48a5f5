"""A Stack on a real cluster, over kubectl and over REST."""

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
import yaml

from tests.support import stacks
from tests.support.bad_pods import BAD_PODS, pod_yaml
from tests.support.eventually import eventually
from tests.support.product import Product, rest
from tests.support.stacks import NAMESPACE
from tests.testbed.interface import Cluster


def test_applied_stack_answers_on_its_node_port(product: Product, users: Iterator[int]) -> None:
    cluster, user = product.cluster, next(users)
    stacks.create(cluster, stacks.resource(user))
    stack = stacks.wait_for(cluster, f"stack-{user}-1", "Ready")
    status = stack["status"]
    assert 30000 <= status["nodePort"] <= 32767
    assert eventually(lambda: stacks.page(product, status["nodePort"])) == stacks.PAGE
    assert status["observedGeneration"] == stack["metadata"]["generation"]
    assert status["requested"] == {"cpuMilli": 20, "memoryBytes": 16 * 2**20}
    created = datetime.fromisoformat(stack["metadata"]["creationTimestamp"])
    assert datetime.fromisoformat(status["expiresAt"]) == created + timedelta(hours=2)
    assert len(stacks.children(cluster, stack["metadata"]["uid"])) == 3


def test_kubectl_prints_what_a_person_asks(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    stacks.create(product.cluster, stacks.resource(user))
    stacks.wait_for(product.cluster, f"stack-{user}-1", "Ready")
    header, row = product.cluster.kubectl("get", "stk", "-n", NAMESPACE, f"stack-{user}-1").splitlines()
    assert header.split() == ["NAME", "USER", "PROBLEM", "READY", "REASON", "NODE-PORT", "NODE", "EXPIRES", "AGE"]
    assert row.split()[1:5] == [str(user), "1", "True", "Running"]
    assert f"stack-{user}-1" in product.cluster.kubectl("get", "slipway", "-n", NAMESPACE)
    assert "judged by an allowlist" in product.cluster.kubectl("explain", "stack.spec.template").replace("\n    ", " ")


def test_the_running_pod_is_hardened(product: Product, users: Iterator[int]) -> None:
    code, made = stacks.post(product, stacks.request(next(users)))
    assert code == 201, made
    pod = json.loads(product.cluster.kubectl("get", "pod", "-n", NAMESPACE, made["pod_id"], "-o", "json"))
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert all("projected" not in volume for volume in spec.get("volumes", []))
    container = spec["containers"][0]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
    }
    requests, limits = (container["resources"][part] for part in ("requests", "limits"))
    assert {k: requests[k] for k in ("cpu", "memory")} == {k: limits[k] for k in ("cpu", "memory")}
    assert limits["ephemeral-storage"] == "1Gi"
    assert pod["status"]["qosClass"] == "Guaranteed"
    shown = yaml.safe_load(made["pod_spec"])["spec"]["containers"][0]
    assert shown["securityContext"] == container["securityContext"]
    status = eventually(lambda: _exec(product.cluster, made["pod_id"], "cat", "/proc/1/status"))
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["CapEff"], 16) == 0
    assert int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Seccomp"].strip() == "2"


def test_rest_and_kubectl_see_each_others(product: Product, users: Iterator[int]) -> None:
    cluster, user = product.cluster, next(users)
    code, made = stacks.post(product, stacks.request(user, problem=1))
    assert code == 201, made
    assert made["node_id"]
    assert made["status"] in ("creating", "running")
    seen = stacks.get(cluster, f"stack-{user}-1")
    assert seen["metadata"]["uid"] == made["stack_id"]
    assert seen["status"]["nodePort"] == made["node_port"]
    assert rest("GET", f"{product.gateway}/stacks/{made['stack_id']}")[0] == 200  # a read that follows the write

    stacks.create(cluster, stacks.resource(user, problem=2, name="from-kubectl"))
    uid = stacks.wait_for(cluster, "from-kubectl", "Ready")["metadata"]["uid"]
    eventually(lambda: rest("GET", f"{product.gateway}/stacks/{uid}/status")[1].get("status") == "running")
    listed = rest("GET", f"{product.gateway}/users/{user}/stacks")[1]["stacks"]
    assert {s["stack_id"] for s in listed} == {made["stack_id"], uid}
    everyone = rest("GET", f"{product.gateway}/stacks")[1]["stacks"]
    assert {made["stack_id"], uid} <= {s["stack_id"] for s in everyone}
    stats = rest("GET", f"{product.gateway}/stats")[1]
    assert stats["total_stacks"] >= 2
    assert sum(stats["node_distribution"].values()) >= 2

    cluster.kubectl("delete", "stack", "-n", NAMESPACE, "from-kubectl")
    eventually(lambda: rest("GET", f"{product.gateway}/stacks/{uid}")[0] == 404)


def test_delete_frees_everything(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    _, made = stacks.post(product, stacks.request(user))
    uid, url = made["stack_id"], f"{product.gateway}/stacks/{made['stack_id']}"
    eventually(lambda: stacks.page(product, made["node_port"]))
    assert rest("DELETE", url) == (200, {"deleted": True, "stack_id": uid})
    assert rest("GET", url) == (404, {"error": "stack not found"})
    assert rest("DELETE", url)[0] == 404
    eventually(lambda: not stacks.children(product.cluster, uid))
    eventually(lambda: not stacks.page(product, made["node_port"]))
    code, again = stacks.post(product, stacks.request(user))  # the pair and the user's slot are free
    assert code == 201, again
    assert again["stack_id"] != uid


def test_a_new_stack_does_not_wait_for_the_old_pod(product: Product, users: Iterator[int]) -> None:
    user, template = next(users), stacks.pod(terminationGracePeriodSeconds=30)
    _, made = stacks.post(product, stacks.request(user, template=template))
    eventually(lambda: stacks.page(product, made["node_port"]))
    rest("DELETE", f"{product.gateway}/stacks/{made['stack_id']}")
    code, again = stacks.post(product, stacks.request(user, template=template))
    assert code == 201, again
    assert eventually(lambda: stacks.page(product, again["node_port"])) == stacks.PAGE


def test_fifty_creates_of_one_pair_give_one_stack(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: stacks.post(product, stacks.request(user)), range(50)))
    assert Counter(code for code, _ in answers) == {201: 1, 409: 49}
    assert {body["error"] for code, body in answers if code == 409} == {
        f"user {user} already has a stack for problem 1"
    }
    assert len(rest("GET", f"{product.gateway}/users/{user}/stacks")[1]["stacks"]) == 1


def test_one_pair_under_two_names_runs_once(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    stacks.create(product.cluster, *(stacks.resource(user, name=f"twin-{n}-{user}") for n in "ab"))
    found = eventually(lambda: _all_judged(product.cluster, f"twin-a-{user}", f"twin-b-{user}"))
    refused = [s for s in found if any(c["type"] == "Stalled" for c in s["status"]["conditions"])]
    assert [stacks.reason(s, "Stalled")[1] for s in refused] == ["AlreadyExists"]
    assert not stacks.children(product.cluster, refused[0]["metadata"]["uid"])


def test_a_user_has_five_stacks_at_most(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    codes = [stacks.post(product, stacks.request(user, problem))[0] for problem in range(1, 7)]
    assert codes == [201] * 5 + [503]
    assert len(rest("GET", f"{product.gateway}/users/{user}/stacks")[1]["stacks"]) == 5


def test_bad_pods_over_rest_leave_nothing(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    wrong = []
    for bad in BAD_PODS:
        body = stacks.request(user) | {"pod_spec": pod_yaml(bad.template)}
        code, answer = stacks.post(product, body)
        if code != 400 or bad.path("pod_spec") not in answer["error"] or bad.fragment not in answer["error"]:
            wrong.append((bad.id, code, answer))
    assert not wrong
    assert len(BAD_PODS) >= 40
    assert rest("GET", f"{product.gateway}/users/{user}/stacks") == (200, {"stacks": []})


def test_bad_pods_over_kubectl_are_refused_in_their_conditions(product: Product, users: Iterator[int]) -> None:
    named = {f"bad-{index}": (bad, next(users)) for index, bad in enumerate(BAD_PODS)}
    made = [stacks.resource(user, name=name, template=bad.template) for name, (bad, user) in named.items()]
    stacks.create(product.cluster, *made)
    found = eventually(lambda: _all_judged(product.cluster, *named), seconds=60)
    for stack in found:
        bad, _ = named[stack["metadata"]["name"]]
        status, why, message = stacks.reason(stack, "Stalled")
        assert (status, why) == ("True", "PodSpecInvalid"), bad.id
        assert bad.path("template") in message, bad.id
        assert bad.fragment in message, bad.id
        assert "nodePort" not in stack["status"], bad.id
        assert not stacks.children(product.cluster, stack["metadata"]["uid"])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"targetPort": 0}, "spec.targetPort"),
        ({"targetPort": 65536}, "spec.targetPort"),
        ({"userId": 0}, "spec.userId"),
        ({"userId": 2**53}, "spec.userId"),
        ({"problemId": -1}, "spec.problemId"),
        ({"userId": "101"}, "spec.userId"),
        ({"ttl": "forever"}, "spec.ttl"),
        ({"ttl": "0s"}, "spec.ttl"),
        ({"ttl": "721h"}, "must be from 1s to 720h"),
        ({"onExpiry": "Explode"}, "spec.onExpiry"),
        ({"template": None}, "spec.template"),
    ],
)
def test_the_schema_refuses(product: Product, users: Iterator[int], change: stacks.Json, complaint: str) -> None:
    bad = stacks.resource(next(users), name="bad-shape")
    bad["spec"] |= change
    assert complaint in _refused(product.cluster, "create", bad)


def test_the_schema_guards_names(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    assert "metadata.name" in _refused(product.cluster, "create", stacks.resource(user, name="9lives"))
    assert "metadata.name" in _refused(product.cluster, "create", stacks.resource(user, name="a" * 64))
    assert "stack-USER-PROBLEM" in _refused(product.cluster, "create", stacks.resource(user, name="stack-1-2"))


def test_who_and_what_are_immutable(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    stacks.create(product.cluster, stacks.resource(user, name="immutable"))
    assert "is immutable" in _refused(product.cluster, "apply", stacks.resource(user + 1, name="immutable"))
    assert "is immutable" in _refused(product.cluster, "apply", stacks.resource(user, problem=2, name="immutable"))


def test_time_over_deletes(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    stacks.create(product.cluster, stacks.resource(user, name="short", ttl="4s"))
    uid = stacks.get(product.cluster, "short")["metadata"]["uid"]
    eventually(lambda: stacks.children(product.cluster, uid))
    eventually(lambda: "stack/short" not in product.cluster.kubectl("get", "stacks", "-n", NAMESPACE, "-o", "name"))
    eventually(lambda: not stacks.children(product.cluster, uid))


def test_time_over_keeps_the_resource_if_told_to(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    stacks.create(product.cluster, stacks.resource(user, name="kept", ttl="4s", onExpiry="Keep"))
    stack = stacks.wait_for(product.cluster, "kept", "Stalled")
    assert stacks.reason(stack, "Stalled")[1] == "Expired"
    eventually(lambda: not stacks.children(product.cluster, stack["metadata"]["uid"]))
    product.cluster.kubectl("patch", "stack", "-n", NAMESPACE, "kept", "--type=merge", "-p", '{"spec":{"ttl":"1h"}}')
    port = stacks.wait_for(product.cluster, "kept", "Ready")["status"]["nodePort"]
    assert eventually(lambda: stacks.page(product, port)) == stacks.PAGE


def test_a_changed_template_replaces_the_pod_and_keeps_the_port(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    resource = stacks.resource(user, name="changing")
    stacks.create(product.cluster, resource)
    before = stacks.wait_for(product.cluster, "changing", "Ready")["status"]
    command = resource["spec"]["template"]["spec"]["containers"][0]["command"]
    command[2] = command[2].replace(stacks.PAGE, "second edition")
    product.cluster.kubectl("apply", "-f", "-", input=json.dumps(resource))
    assert eventually(lambda: stacks.page(product, before["nodePort"]) == "second edition", seconds=60)
    after = eventually(lambda: stacks.get(product.cluster, "changing")["status"])
    assert after["nodePort"] == before["nodePort"]
    assert after["podName"] != before["podName"]


def test_a_bad_edit_changes_nothing_of_what_runs(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    stacks.create(product.cluster, stacks.resource(user, name="typo"))
    before = stacks.wait_for(product.cluster, "typo", "Ready")["status"]
    edit = ("patch", "stack", "-n", NAMESPACE, "typo", "--type=merge", "-p")
    product.cluster.kubectl(*edit, '{"spec":{"template":{"spec":{"hostNetwork":true}}}}')
    stack = stacks.wait_for(product.cluster, "typo", "Stalled")
    assert stacks.reason(stack, "Stalled")[1] == "PodSpecInvalid"
    assert stacks.reason(stack, "Ready")[:2] == ("True", "Running")
    assert eventually(lambda: stacks.page(product, before["nodePort"])) == stacks.PAGE
    product.cluster.kubectl(*edit, '{"spec":{"template":{"spec":{"hostNetwork":null}}}}')
    eventually(lambda: [c["type"] for c in stacks.get(product.cluster, "typo")["status"]["conditions"]] == ["Ready"])
    after = stacks.get(product.cluster, "typo")["status"]
    assert (after["podName"], after["nodePort"]) == (before["podName"], before["nodePort"])


@pytest.mark.parametrize(("kind", "field"), [("pod", "podName"), ("service", "serviceName")])
def test_a_stack_that_lost_a_part_ends(product: Product, users: Iterator[int], kind: str, field: str) -> None:
    user = next(users)
    stacks.create(product.cluster, stacks.resource(user, name="lossy", onExpiry="Keep"))
    status = stacks.wait_for(product.cluster, "lossy", "Ready")["status"]
    product.cluster.kubectl("delete", kind, "-n", NAMESPACE, status[field], "--grace-period=1")
    stack = stacks.wait_for(product.cluster, "lossy", "Stalled")
    assert stacks.reason(stack, "Stalled")[1] == f"{kind.capitalize()}Deleted"
    eventually(lambda: not stacks.children(product.cluster, stack["metadata"]["uid"]))


def test_a_rest_stack_that_lost_its_pod_goes(product: Product, users: Iterator[int]) -> None:
    _, made = stacks.post(product, stacks.request(next(users)))
    product.cluster.kubectl("delete", "pod", "-n", NAMESPACE, made["pod_id"], "--grace-period=1")
    eventually(lambda: rest("GET", f"{product.gateway}/stacks/{made['stack_id']}")[0] == 404)


def test_hand_edits_are_put_back(product: Product, users: Iterator[int]) -> None:
    cluster, user = product.cluster, next(users)
    stacks.create(cluster, stacks.resource(user))
    status = stacks.wait_for(cluster, f"stack-{user}-1", "Ready")["status"]
    service = status["serviceName"]
    cluster.kubectl(
        "patch", "service", "-n", NAMESPACE, service, "--type=json", "-p",
        '[{"op":"replace","path":"/spec/ports/0/port","value":6000},{"op":"replace","path":"/spec/selector","value":{"a":"b"}}]',
    )  # fmt: skip

    def mended() -> bool:
        spec = json.loads(cluster.kubectl("get", "service", "-n", NAMESPACE, service, "-o", "json"))["spec"]
        ports = [(p["port"], p["nodePort"]) for p in spec["ports"]]
        return ports == [(stacks.PORT, status["nodePort"])] and "slipway.dev/uid" in spec["selector"]

    eventually(mended)
    assert eventually(lambda: stacks.page(product, status["nodePort"])) == stacks.PAGE


def test_no_node_in_time_is_503_and_undone(product: Product, users: Iterator[int]) -> None:
    user, cluster = next(users), product.cluster
    cluster.kubectl("taint", "nodes", "--all", "slipway.dev/e2e=full:NoSchedule")
    try:
        code, answer = stacks.post(product, stacks.request(user))
    finally:
        cluster.kubectl("taint", "nodes", "--all", "slipway.dev/e2e-")
        eventually(lambda: stacks.post(product, stacks.request(next(users)))[0] == 201)  # the operator has seen it
    assert (code, answer["error"]) in [
        (503, "no node took the pod within 8 s"),
        (503, "the cluster has no room for another stack: try again when others have ended"),
    ]
    _nothing_left(product, user)


def test_a_template_of_any_depth_is_judged(product: Product, users: Iterator[int]) -> None:
    text = json.dumps(stacks.resource(next(users), name="deep", template={"spec": "DEEP"}))
    deep_text = '{"a":' * 2000 + "{}" + "}" * 2000
    product.cluster.kubectl("create", "-f", "-", input=text.replace('"DEEP"', deep_text))
    wait = ("wait", "-n", NAMESPACE, "stack/deep", "--for=condition=Stalled", "--timeout=60s")
    product.cluster.kubectl(*wait)
    why = ("get", "stack", "-n", NAMESPACE, "deep", "-o", "jsonpath={.status.conditions[0].reason}")
    assert product.cluster.kubectl(*why) == "PodSpecInvalid"
    assert rest("GET", f"{product.gateway}/stacks")[0] == 200
    code, made = stacks.post(product, stacks.request(next(users)))  # and nobody else is the worse for it
    assert code == 201, made


def test_limit_range_is_400(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    limits = {"limits": [{"type": "Container", "max": {"memory": "8Mi"}}]}
    _with(product, "LimitRange", limits, lambda: _expect(product, user, 400, "maximum memory usage per Container"))


def test_quota_is_503(product: Product, users: Iterator[int]) -> None:
    user = next(users)
    _with(product, "ResourceQuota", {"hard": {"pods": "0"}}, lambda: _expect(product, user, 503, "exceeded quota"))
    node_ports = {"hard": {"services.nodeports": "0"}}
    _with(product, "ResourceQuota", node_ports, lambda: _expect(product, user, 503, "exceeded quota"))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"user_id": "1"}, "user_id: "),
        ({"user_id": True}, "user_id: "),
        ({"user_id": 0}, "user_id: "),
        ({"problem_id": 1.5}, "problem_id: "),
        ({"problem_id": None}, "problem_id: "),
        ({"target_port": 70000}, "target_port: "),
        ({"target_port": 80}, "pod_spec"),
        ({"pod_spec": ""}, "pod_spec"),
        ({"pod_spec": "kind: [Pod"}, "pod_spec"),
        ({"pod_spec": "apiVersion: v1\nkind: Deployment\n"}, "pod_spec.kind"),
        ({"namespace": "kube-system"}, "namespace: unknown field"),
    ],
)
def test_bad_bodies_are_400(product: Product, users: Iterator[int], body: stacks.Json, complaint: str) -> None:
    code, answer = stacks.post(product, stacks.request(next(users)) | body)
    assert code == 400, answer
    assert complaint in answer["error"]


def _exec(cluster: Cluster, pod: str, *command: str) -> str:
    try:
        return cluster.kubectl("exec", "-n", NAMESPACE, pod, "--", *command)
    except subprocess.CalledProcessError:  # not started yet
        return ""


def _refused(cluster: Cluster, verb: str, resource: stacks.Json) -> str:
    """What kubectl says to a resource that the API server must refuse."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        cluster.kubectl(verb, "-f", "-", input=json.dumps(resource))
    return str(caught.value.stderr)


def _all_judged(cluster: Cluster, *names: str) -> list[stacks.Json]:
    """The Stacks when each of them is either placed or refused; else nothing."""
    found = json.loads(cluster.kubectl("get", "stacks", "-n", NAMESPACE, "-o", "json"))["items"]
    mine = [s for s in found if s["metadata"]["name"] in names]
    judged = [s for s in mine if s["status"]["observedGeneration"] == s["metadata"]["generation"]]
    return judged if len(judged) == len(names) else []


def _expect(product: Product, user: int, code: int, text: str) -> None:
    answer = stacks.post(product, stacks.request(user))
    assert answer[0] == code, answer
    assert text in answer[1]["error"]
    _nothing_left(product, user)


def _nothing_left(product: Product, user: int) -> None:
    assert rest("GET", f"{product.gateway}/users/{user}/stacks") == (200, {"stacks": []})
    eventually(
        lambda: not [n for n in stacks.names(product.cluster, "stacks,pods,services,networkpolicies") if str(user) in n]
    )


def _forbidden(cluster: Cluster) -> bool:
    """Whether a pod or a node port Service like a Stack's would be refused now."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": NAMESPACE}, **stacks.pod()}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": pod["metadata"]}
    service["spec"] = {"type": "NodePort", "ports": [{"port": stacks.PORT}]}
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod, service]})
    try:
        cluster.kubectl("create", "--dry-run=server", "-f", "-", input=items)
    except subprocess.CalledProcessError as error:
        return "is forbidden" in error.stderr
    return False


def _with(product: Product, kind: str, spec: stacks.Json, check: Callable[[], None]) -> None:
    """Run `check` while an object of the namespace is there."""
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "e2e", "namespace": NAMESPACE}, "spec": spec}
    product.cluster.kubectl("create", "-f", "-", input=json.dumps(body))
    try:
        eventually(lambda: _forbidden(product.cluster))  # admission has heard of it
        check()
    finally:
        product.cluster.kubectl("delete", kind.lower(), "-n", NAMESPACE, "e2e")
