"""The Stack API over REST, with a stand-in for the operator: every route, its codes and bodies."""

import asyncio
import json
from typing import Any

import pytest

from api_gateway.routes import stacks as routes
from api_gateway.wire import body
from slipway.api.kinds import STACK
from slipway.api.meta import timestamp
from slipway.api.stack import ENDED_POD, LOST, Reason
from tests.functional.conftest import StartGateway
from tests.support import api_answers
from tests.support.bad_pods import BAD_PODS, BadPod
from tests.support.fake_api import FakeApi
from tests.support.gateway import Gateway, answer_with, ask, placed, refused
from tests.support.objects import CREATED, a_stack, with_condition
from tests.support.pods import good_template, pod_yaml
from tests.support.until import until

FIELDS = [
    *("stack_id", "user_id", "problem_id", "pod_id", "namespace", "node_id", "pod_spec", "target_port", "node_port"),
    *("service_name", "status", "ttl_expires_at", "created_at", "updated_at"),
    *("requested_cpu_milli", "requested_memory_bytes"),
]


async def test_create_look_and_delete(gateway: Gateway, api: FakeApi) -> None:
    answer_with(api, placed)
    status, made = await gateway.call("POST", "/stacks", ask())
    assert status == 201
    assert list(made) == FIELDS
    stored = api.the(STACK)
    assert made | {"pod_spec": "", "created_at": "", "updated_at": ""} == {
        "stack_id": stored["metadata"]["uid"],
        "user_id": 1,
        "problem_id": 2,
        "pod_id": "stack-1-2-abc",
        "namespace": "stacks",
        "node_id": "node-1",
        "pod_spec": "",
        "target_port": 5000,
        "node_port": 30001,
        "service_name": "stack-1-2",
        "status": "running",
        "ttl_expires_at": "2026-01-01T14:00:00Z",
        "created_at": "",
        "updated_at": "",
        "requested_cpu_milli": 500,
        "requested_memory_bytes": 2**28,
    }
    assert made["created_at"] == stored["metadata"]["creationTimestamp"] == timestamp(api.now().replace(microsecond=0))
    assert stored["metadata"]["name"] == "stack-1-2"
    path = f"/stacks/{made['stack_id']}"
    assert await gateway.call("GET", path) == (200, made)
    assert await gateway.call("GET", "/stacks") == (200, {"stacks": [made]})
    assert await gateway.call("GET", "/users/1/stacks") == (200, {"stacks": [made]})
    assert await gateway.call("GET", "/users/2/stacks") == (200, {"stacks": []})
    assert await gateway.call("GET", f"{path}/status") == (
        200,
        {
            "stack_id": made["stack_id"],
            "status": "running",
            "ttl": "2026-01-01T14:00:00Z",
            "node_port": 30001,
            "target_port": 5000,
        },
    )
    assert await gateway.call("GET", "/stats") == (
        200,
        {
            "total_stacks": 1,
            "active_stacks": 1,
            "node_distribution": {"node-1": 1},
            "used_node_ports": 1,
            "reserved_cpu_milli": 500,
            "reserved_memory_bytes": 2**28,
        },
    )
    assert await gateway.call("DELETE", path) == (200, {"deleted": True, "stack_id": made["stack_id"]})
    assert api.names(STACK) == []
    for method, gone in (("GET", path), ("GET", f"{path}/status"), ("DELETE", path)):
        assert await gateway.call(method, gone) == (404, {"error": "stack not found"})
    assert await gateway.call("GET", "/stacks") == (200, {"stacks": []})


async def test_the_answer_shows_the_sanitized_pod(gateway: Gateway, api: FakeApi) -> None:
    answer_with(api, placed)
    _, made = await gateway.call("POST", "/stacks", ask())
    shown = made["pod_spec"]
    for text in ("kind: Pod", "drop:", "RuntimeDefault", "automountServiceAccountToken: false"):
        assert text in shown
    assert "problem-1001" not in shown
    assert "ownerReferences" not in shown


async def test_a_pod_spec_may_be_json(gateway: Gateway, api: FakeApi) -> None:
    answer_with(api, placed)
    pod = {"apiVersion": "v1", "kind": "Pod", **good_template()}
    status, _ = await gateway.call("POST", "/stacks", ask(pod_spec=json.dumps(pod)))
    assert status == 201


async def test_201_waits_for_node_and_port(gateway: Gateway, api: FakeApi) -> None:
    request = asyncio.create_task(gateway.call("POST", "/stacks", ask()))
    await until(lambda: api.names(STACK))
    waiting = with_condition(api.the(STACK), Reason.SCHEDULING, nodePort=30001)["status"]
    api.edit(STACK, "stack-1-2", lambda s: s.update(status=waiting))
    while (await listed(gateway, 1))[0]["node_port"] is None:
        assert api.names(STACK)
    for _ in range(3):  # an answer would be here by then
        await gateway.call("GET", "/healthz")
    assert not request.done(), "it has a port, but no node"
    api.edit(STACK, "stack-1-2", lambda s: s.update(status=placed(s)["status"]))
    assert (await request)[0] == 201


async def test_a_pod_that_ended_at_once_was_placed_all_the_same(gateway: Gateway, api: FakeApi) -> None:
    """201 means that it has been scheduled and holds its port; how fast the pod is done must not decide."""

    def ended(stack: Any) -> Any:
        return with_condition(stack, Reason.POD_FAILED, stalled=True, nodeName="node-1", nodePort=30001)

    answer_with(api, ended)
    status, made = await gateway.call("POST", "/stacks", ask())
    assert (status, made.get("status")) == (201, "failed")


BAD_BODIES: list[tuple[str, Any, str]] = [
    ("no-user", {"problem_id": 1, "target_port": 1, "pod_spec": ""}, "user_id"),
    ("no-pod", {"user_id": 1, "problem_id": 1, "target_port": 1}, "pod_spec"),
    ("user-zero", ask(0), "user_id"),
    ("user-negative", ask(-1), "user_id"),
    ("user-large", ask(2**53), "user_id"),
    ("user-text", ask(user_id="1"), "user_id"),
    ("user-float", ask(user_id=1.5), "user_id"),
    ("user-whole-float", ask(user_id=1.0), "user_id"),
    ("user-true", ask(user_id=True), "user_id"),
    ("user-null", ask(user_id=None), "user_id"),
    ("problem-zero", ask(1, 0), "problem_id"),
    ("problem-huge", ask(problem_id=10**400), "problem_id"),
    ("port-zero", ask(target_port=0), "target_port"),
    ("port-large", ask(target_port=65536), "target_port"),
    ("port-other", ask(target_port=5001), "pod_spec.spec.containers[0].ports[0].containerPort"),
    ("pod-object", ask(pod_spec=good_template()), "pod_spec"),
    ("pod-empty", ask(pod_spec=""), "pod_spec"),
    ("pod-not-yaml", ask(pod_spec="{"), "pod_spec"),
    ("pod-two-documents", ask(pod_spec=pod_yaml(good_template()) + "---\nkind: Pod\n"), "pod_spec"),
    ("pod-other-kind", ask(pod_spec="apiVersion: v1\nkind: Service\n"), "pod_spec.kind"),
    ("pod-surrogate", ask(pod_spec="\ud800"), "pod_spec"),
    ("pod-nul", ask(pod_spec="a\x00"), "pod_spec"),
    ("pod-65-KiB", ask(pod_spec="#" * 65 * 1024), "pod_spec"),
    ("unknown-field", ask(ttl="2h"), "ttl"),
    ("unknown-odd-field", ask(**{"\ud800\n<b>": 1}), "body"),
    ("unknown-field-of-lines", ask(**{"a\nb": 1}), r"a\nb"),
    ("unknown-long-field", ask(**{"x" * 100_000: 1}), "xxx"),
    ("list", [], "body"),
    ("null", None, "body"),
    ("text", "x", "body"),
]


@pytest.mark.parametrize(("body", "field"), [b[1:] for b in BAD_BODIES], ids=[b[0] for b in BAD_BODIES])
async def test_a_bad_body(gateway: Gateway, api: FakeApi, body: Any, field: str) -> None:
    await refuses(gateway, api, json.dumps(body).encode(), field)


BAD_BYTES: list[tuple[str, bytes, str]] = [
    ("empty", b"", "body"),
    ("not-json", b"{", "body"),
    ("more-than-one", b"{} {}", "body"),
    ("nan", b'{"user_id": NaN}', "body"),
    ("twice", b'{"user_id": 1, "user_id": 2}', "user_id"),
    ("not-utf-8", b'{"user_id": "\xff"}', "body"),
    ("deep", b"[" * 100_000, "body"),
    ("many-digits", b'{"user_id": ' + b"9" * 5000 + b"}", "body"),
    ("infinite", b'{"user_id": 1e999, "problem_id": 1, "target_port": 1, "pod_spec": ""}', "user_id"),
]


@pytest.mark.parametrize(("body", "field"), [b[1:] for b in BAD_BYTES], ids=[b[0] for b in BAD_BYTES])
async def test_bytes_that_are_no_body(gateway: Gateway, api: FakeApi, body: bytes, field: str) -> None:
    await refuses(gateway, api, body, field)


async def refuses(gateway: Gateway, api: FakeApi, body: bytes, field: str) -> None:
    status, answer = await gateway.call("POST", "/stacks", data=body, headers={"Content-Type": "application/json"})
    assert (status, list(answer)) == (400, ["error"]), answer
    assert field in answer["error"]
    assert len(answer["error"]) < 1000
    assert "Traceback" not in answer["error"]
    assert "\n" not in answer["error"]
    assert api.names(STACK) == []
    assert not gateway.kube["post"]


@pytest.mark.parametrize("type_", ["text/plain", "application/x-www-form-urlencoded", "application/yaml", ""])
async def test_another_content_type(gateway: Gateway, type_: str) -> None:
    body = json.dumps(ask()).encode()
    status, answer = await gateway.call("POST", "/stacks", data=body, headers={"Content-Type": type_})
    assert (status, answer) == (400, {"error": "Content-Type: must be application/json"})


async def test_a_body_that_is_not_the_gzip_it_claims_to_be(gateway: Gateway) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with gateway.client.post("/stacks", data=b"not gzip at all", headers=headers) as response:
        assert response.status == 400
        assert "Traceback" not in await response.text()


async def test_every_bad_pod_at_once(gateway: Gateway, api: FakeApi) -> None:
    """The whole table over REST: 400, the field to blame, and no call to the cluster."""

    async def check(bad: BadPod) -> None:
        status, answer = await gateway.call("POST", "/stacks", ask(pod_spec=pod_yaml(bad.template)))
        assert status == 400, bad.id
        assert bad.path("pod_spec") in answer["error"], bad.id
        assert bad.fragment in answer["error"], bad.id

    for bad in BAD_PODS:
        await check(bad)
    assert api.names(STACK) == []
    assert not gateway.kube["post"]


REFUSED = {
    Reason.POD_SPEC_INVALID: 400,
    Reason.LIMIT_RANGE_EXCEEDED: 400,
    Reason.REJECTED: 400,
    Reason.ALREADY_EXISTS: 409,
    Reason.USER_LIMIT_REACHED: 503,
    Reason.NODE_PORTS_EXHAUSTED: 503,
    Reason.CLUSTER_SATURATED: 503,
    Reason.RESOURCE_QUOTA_EXCEEDED: 503,
    Reason.SCHEDULING_TIMEOUT: 503,
    Reason.NODE_DELETED: 503,
    Reason.POD_DELETED: 503,
}


@pytest.mark.parametrize(("reason", "code"), REFUSED.items())
async def test_what_the_operator_refuses_is_told_and_removed(
    gateway: Gateway, api: FakeApi, reason: Reason, code: int
) -> None:
    answer_with(api, refused(reason))
    assert await gateway.call("POST", "/stacks", ask()) == (code, {"error": f"because of {reason}"})
    assert api.names(STACK) == []
    assert await gateway.call("GET", "/stacks") == (200, {"stacks": []})


async def test_an_operator_that_is_silent(gateway: Gateway, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "OPERATOR_SECONDS", 0.01)
    status, answer = await gateway.call("POST", "/stacks", ask())
    assert status == 503
    assert "operator" in answer["error"]
    assert api.names(STACK) == []


async def test_a_stack_that_is_deleted_while_it_is_made(gateway: Gateway, api: FakeApi) -> None:
    request = asyncio.create_task(gateway.call("POST", "/stacks", ask()))
    await until(lambda: api.names(STACK))
    api.remove(STACK, "stack-1-2")
    status, answer = await request
    assert (status, list(answer)) == (503, ["error"])


async def test_a_second_stack_for_the_pair(gateway: Gateway, api: FakeApi) -> None:
    answer_with(api, placed)
    assert (await gateway.call("POST", "/stacks", ask()))[0] == 201
    status, answer = await gateway.call("POST", "/stacks", ask())
    assert (status, answer) == (409, {"error": "user 1 already has a stack for problem 2"})
    assert api.names(STACK) == ["stack-1-2"], "the first one stays"


async def test_many_for_one_pair_at_once(gateway: Gateway, api: FakeApi) -> None:
    answer_with(api, placed)
    answers = await asyncio.gather(*(gateway.call("POST", "/stacks", ask()) for _ in range(12)))
    assert sorted(status for status, _ in answers) == [201] + [409] * 11


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (api_answers.INTERNAL, 503),
        (api_answers.NO_LEADER, 503),
        (api_answers.OVERLOADED, 503),
        (api_answers.TOO_SLOW, 503),
        (api_answers.TOO_MANY, 503),
        (api_answers.UNAUTHORIZED, 503),
        (api_answers.NO_RIGHT, 503),
        (api_answers.POD_QUOTA, 503),
        (api_answers.INVALID, 400),
    ],
    ids=lambda case: case.message[:30] if isinstance(case, api_answers.Answer) else str(case),
)
async def test_the_api_server_refuses_the_stack(
    gateway: Gateway, api: FakeApi, answer: api_answers.Answer, code: int
) -> None:
    api.refuse("create", STACK, answer)
    status, said = await gateway.call("POST", "/stacks", ask())
    assert (status, list(said)) == (code, ["error"])
    assert api.names(STACK) == []


@pytest.mark.parametrize("page", [b"<html>502</html>", b"\xff\xfe caf\xe9", b""], ids=["html", "latin", "empty"])
@pytest.mark.parametrize("code", [200, 502])
async def test_a_proxy_answers_in_place_of_the_api_server(gateway: Gateway, page: bytes, code: int) -> None:
    gateway.kube["post"] << code << page
    status, said = await gateway.call("POST", "/stacks", ask())
    assert (status, list(said)) == (503, ["error"])


async def test_the_api_server_does_not_answer(gateway: Gateway) -> None:
    gateway.kube["post"] << (lambda: asyncio.sleep(5))
    status, said = await gateway.call("POST", "/stacks", ask())
    assert (status, list(said)) == (503, ["error"])


async def test_a_create_whose_answer_is_lost_leaves_nothing(gateway: Gateway, api: FakeApi) -> None:
    """The API server makes it, and the connection breaks: the client is told no, so there must be none."""

    def made_and_lost(request: Any) -> Any:
        api.create(STACK, request.data)
        raise api_answers.INTERNAL

    gateway.kube["post"] << made_and_lost
    status, _ = await gateway.call("POST", "/stacks", ask())
    assert status == 503
    assert api.changes(STACK, "ADDED") == 1
    await until(lambda: not api.names(STACK))
    assert await gateway.call("GET", "/stacks") == (200, {"stacks": []})


@pytest.mark.parametrize("answer", [api_answers.INTERNAL, api_answers.OVERLOADED, api_answers.TOO_MANY])
async def test_a_delete_that_cannot_be_done(gateway: Gateway, api: FakeApi, answer: api_answers.Answer) -> None:
    api.put(STACK, placed(a_stack()))
    await until(lambda: api.watching)
    await listed(gateway, 1)
    api.refuse("delete", STACK, answer)
    status, said = await gateway.call("DELETE", "/stacks/uid-1-2")
    assert (status, list(said)) == (503, ["error"])
    assert (await gateway.call("GET", "/stacks/uid-1-2"))[0] == 200


async def test_a_delete_is_tried_again(gateway: Gateway, api: FakeApi) -> None:
    api.put(STACK, placed(a_stack()))
    await listed(gateway, 1)
    api.refuse("delete", STACK, api_answers.OVERLOADED, times=2)
    assert (await gateway.call("DELETE", "/stacks/uid-1-2"))[0] == 200
    assert api.names(STACK) == []


async def test_a_delete_of_what_is_gone_already(gateway: Gateway, api: FakeApi) -> None:
    api.put(STACK, placed(a_stack()))
    await listed(gateway, 1)
    gateway.kube["delete"] << 404 << api_answers.NOT_FOUND.status
    assert (await gateway.call("DELETE", "/stacks/uid-1-2"))[0] == 200
    assert (await gateway.call("GET", "/stacks/uid-1-2"))[0] == 404


async def listed(gateway: Gateway, count: int) -> list[Any]:
    """All stacks, once the watch has brought that many."""
    for _ in range(400):
        found = (await gateway.call("GET", "/stacks"))[1]["stacks"]
        if len(found) == count:
            return list(found)
        await asyncio.sleep(0.002)
    raise AssertionError(f"{len(found)} stacks, not {count}")


async def test_a_read_sees_earlier_writes_though_the_watch_lags(start_gateway: StartGateway, api: FakeApi) -> None:
    async with start_gateway() as gateway:
        answer_with(api, placed)
        _, made = await gateway.call("POST", "/stacks", ask())
        path = f"/stacks/{made['stack_id']}"
        (watch,) = api.silence()
        assert (await gateway.call("GET", path))[0] == 200
        assert (await gateway.call("DELETE", path))[0] == 200
        assert (await gateway.call("GET", path))[0] == 404
        assert (await gateway.call("GET", "/stacks"))[1] == {"stacks": []}
        watch.put_nowait(None)


async def test_what_kubectl_made_is_seen_and_what_it_deletes_goes(gateway: Gateway, api: FakeApi) -> None:
    api.put(STACK, placed(a_stack(7, 8, name="by-hand")))
    (seen,) = await listed(gateway, 1)
    assert (seen["stack_id"], seen["user_id"], seen["status"]) == ("uid-by-hand", 7, "running")
    api.remove(STACK, "by-hand")
    await listed(gateway, 0)


async def test_a_stack_that_is_being_deleted_is_hidden(gateway: Gateway, api: FakeApi) -> None:
    api.put(STACK, placed(a_stack()))
    await listed(gateway, 1)
    api.edit(STACK, "stack-1-2", lambda s: s["metadata"].update(deletionTimestamp=timestamp(CREATED)))
    await listed(gateway, 0)
    assert (await gateway.call("GET", "/stacks/uid-1-2"))[0] == 404


async def test_a_stack_not_yet_judged_is_shown(gateway: Gateway, api: FakeApi) -> None:
    api.put(STACK, a_stack())
    (seen,) = await listed(gateway, 1)
    assert seen["status"] == "creating"
    assert [k for k, v in seen.items() if v is None] == [
        "pod_id",
        "node_id",
        "node_port",
        "service_name",
        "ttl_expires_at",
    ]
    assert (seen["requested_cpu_milli"], seen["requested_memory_bytes"]) == (0, 0)


async def test_a_refused_stack_of_kubectl_is_shown_with_what_was_asked_for(gateway: Gateway, api: FakeApi) -> None:
    api.put(STACK, refused(Reason.POD_SPEC_INVALID)(a_stack(template=BAD_PODS[0].template)))
    (seen,) = await listed(gateway, 1)
    assert seen["status"] == "failed"
    assert "containers" in seen["pod_spec"]


@pytest.mark.parametrize("user", ["0", "-1", "x", "9007199254740992", "%D9%A1", "1" * 100, "1e3", "0x1"])
async def test_a_user_that_cannot_be(gateway: Gateway, user: str) -> None:
    status, answer = await gateway.call("GET", f"/users/{user}/stacks")
    assert status == 400
    assert answer["error"].startswith("user_id: ")


def test_the_table_of_reasons_is_whole() -> None:
    """A new reason must be given a code on purpose."""
    never_refused = {r for r in Reason if r in {*LOST, *ENDED_POD}} | {
        Reason.RUNNING,
        Reason.SCHEDULING,
        Reason.STARTING,
        Reason.EXPIRED,
    }
    assert REFUSED.keys() | never_refused == set(Reason)


async def test_a_body_that_does_not_come(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.05)
    answer = await half_sent(gateway, length=100)
    assert answer.startswith(b"HTTP/1.1 408")
    assert answer.endswith(b'{"error":"the request body did not come in time"}')


async def test_a_body_that_says_it_is_too_long_is_not_waited_for(gateway: Gateway) -> None:
    assert (await half_sent(gateway, length=999_999_999)).startswith(b"HTTP/1.1 413")


async def half_sent(gateway: Gateway, length: int) -> bytes:
    """The answer to a POST whose body does not come."""
    reader, writer = await asyncio.open_connection(gateway.client.host, gateway.client.port)
    head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{"
    writer.write(f"POST /stacks HTTP/1.1\r\n{head}".encode())
    try:
        async with asyncio.timeout(2):
            return await reader.readuntil(b"}")
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_template_of_any_depth_is_shown(gateway: Gateway, api: FakeApi) -> None:
    deep: Any = {}
    for _ in range(400):
        deep = {"deeper": deep}
    api.put(STACK, refused(Reason.POD_SPEC_INVALID)(a_stack(template=deep)))
    (seen,) = await listed(gateway, 1)
    assert seen["pod_spec"].count("deeper") == 400


async def test_a_verdict_is_told_even_if_the_undoing_must_wait(gateway: Gateway, api: FakeApi) -> None:
    api.refuse("delete", STACK, api_answers.INTERNAL, times=5)
    answer_with(api, refused(Reason.USER_LIMIT_REACHED))
    code, _ = await gateway.call("POST", "/stacks", ask())
    assert code == 503
    await until(lambda: not api.names(STACK), seconds=10)
