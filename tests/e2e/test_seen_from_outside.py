"""What people and programs see of a Stack: Events, figures, a table in DynamoDB; and how its life is made longer."""

import json
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.e2e.conftest import SETTINGS
from tests.support import pair, stacks
from tests.support.aws import no_aws
from tests.support.dynamodb import REGION, Dynamo
from tests.support.eventually import eventually
from tests.support.product import Product, rest, text
from tests.support.stacks import NAMESPACE


def events(product: Product, uid: str) -> list[tuple[str, str]]:
    """(type, reason) of what was told of an object."""
    found = product.cluster.kubectl("get", "events.events.k8s.io", "-n", NAMESPACE, "-o", "json")
    items = [e for e in json.loads(found)["items"] if e["regarding"].get("uid") == uid]
    return [(e["type"], e["reason"]) for e in sorted(items, key=lambda e: str(e["eventTime"]))]


def figure(product: Product, name: str, process: str = "operator") -> float:
    lines = (text(f"{product.url(process)}/metrics") or "").splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), -1.0)


def test_events_tell_what_happened(product: Product, users: Iterator[int]) -> None:
    cluster, user = product.cluster, next(users)
    bad = stacks.pod(hostNetwork=True)
    stacks.create(cluster, stacks.resource(user, onExpiry="Keep"), stacks.resource(user, 2, template=bad))
    runs = stacks.wait_for(cluster, f"stack-{user}-1", "Ready")
    refused = stacks.wait_for(cluster, f"stack-{user}-2", "Stalled")
    eventually(lambda: events(product, runs["metadata"]["uid"]) == [("Normal", "Running")])
    eventually(lambda: events(product, refused["metadata"]["uid"]) == [("Warning", "PodSpecInvalid")])
    assert "Running" in cluster.kubectl("describe", "stack", "-n", NAMESPACE, f"stack-{user}-1")
    cluster.kubectl("delete", "pod", "-n", NAMESPACE, runs["status"]["podName"], "--grace-period=1")
    eventually(lambda: ("Warning", "PodDeleted") in events(product, runs["metadata"]["uid"]))


def test_figures_follow_the_stacks(product: Product, users: Iterator[int]) -> None:
    refusals = figure(product, 'slipway_admission_refusals_total{reason="AlreadyExists"}')
    user = next(users)
    code, made = stacks.post(product, stacks.request(user))
    assert code == 201
    eventually(lambda: figure(product, 'slipway_stacks{state="running"}') == 1)
    assert figure(product, "slipway_node_ports_used") == 1
    assert figure(product, 'slipway_reconcile_total{kind="Stack",result="success"}') > 0
    assert figure(product, "process_resident_memory_bytes") < 120e6
    stacks.create(product.cluster, stacks.resource(user, name="another-name"))
    stacks.wait_for(product.cluster, "another-name", "Stalled")
    eventually(lambda: figure(product, 'slipway_admission_refusals_total{reason="AlreadyExists"}') == refusals + 1)
    assert 'route="/stacks",status="201"' in (text(f"{product.gateway}/metrics") or "")
    rest("DELETE", f"{product.gateway}/stacks/{made['stack_id']}")
    eventually(lambda: figure(product, "slipway_node_ports_used") == 0)


def test_renewal_moves_the_end(product: Product, users: Iterator[int]) -> None:
    _, made = stacks.post(product, stacks.request(next(users)))
    url = f"{product.gateway}/stacks/{made['stack_id']}"
    code, longer = rest("POST", f"{url}/renew", {"ttl": "5h"})
    assert code == 200, longer
    ends = [datetime.fromisoformat(s["ttl_expires_at"]) for s in (made, longer)]
    assert 2.9 * 3600 < (ends[1] - ends[0]).total_seconds() <= 3.1 * 3600
    assert rest("GET", f"{url}/status")[1]["ttl"] == longer["ttl_expires_at"]
    assert rest("POST", f"{url}/renew", {"ttl": "1h"})[1]["ttl_expires_at"] == longer["ttl_expires_at"], "never shorter"
    code, refused = rest("POST", f"{url}/renew", {"ttl": "25h"})
    assert code == 400
    assert "ttl" in refused["error"]
    assert rest("POST", f"{product.gateway}/stacks/{'0' * 36}/renew")[0] == 404


def test_a_longer_ttl_is_held_to_the_maximum(product: Product, users: Iterator[int]) -> None:
    user, cluster = next(users), product.cluster
    stacks.create(cluster, stacks.resource(user, ttl="700h"))
    stack = stacks.wait_for(cluster, f"stack-{user}-1", "Ready")
    created, ends = (
        datetime.fromisoformat(t) for t in (stack["metadata"]["creationTimestamp"], stack["status"]["expiresAt"])
    )
    assert (ends - created).total_seconds() == 24 * 3600


def test_the_mirror_follows_through_an_outage_and_a_change_of_leader(
    product: Product, users: Iterator[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_aws(monkeypatch)
    dynamo = Dynamo()
    table = dynamo.new_table()
    mirrored = {"DDB_STACK_TABLE": table.name, "AWS_REGION": REGION, "AWS_ENDPOINT_URL_DYNAMODB": dynamo.url}
    try:
        with pair.running(product, SETTINGS | mirrored | {"SLIPWAY_LEASE_DURATION": "5s"}):
            first = stacks.post(product, stacks.request(next(users)))[1]
            eventually(lambda: table.by_uid().keys() == {first["stack_id"]})
            eventually(lambda: table.by_uid()[first["stack_id"]]["status"] == {"S": "running"})
            dynamo.stop()
            code, second = stacks.post(product, stacks.request(next(users)))
            assert code == 201, "the table being away stops nothing"
            assert rest("DELETE", f"{product.gateway}/stacks/{first['stack_id']}")[0] == 200
            dynamo.start()
            eventually(lambda: table.by_uid().keys() == {second["stack_id"]})
            pair.kill(product, pair.leader(product))
            rest("DELETE", f"{product.gateway}/stacks/{second['stack_id']}")
            eventually(lambda: table.by_uid() == {})
    finally:
        product.up(SETTINGS)
        table.close()
        dynamo.stop()
