"""What the API server says -> our errors; the messages are Kubernetes 1.34's own."""

import json

import pytest

from slipway import errors
from slipway.api.kinds import NETWORK_POLICY, NODE, POD, SERVICE, STACK, Kind
from slipway.cluster import _error, _path, _status_of
from tests.support import api_answers as said
from tests.support.api_answers import Answer

TABLE: list[tuple[str, type[errors.ApiError]]] = [
    ("POD_QUOTA", errors.QuotaExceeded),
    ("QUOTA_WANTS_A_LIMIT", errors.QuotaExceeded),
    ("SERVICE_QUOTA", errors.QuotaExceeded),
    ("QUOTA_IS_NEW", errors.Unavailable),
    ("QUOTA_RACED", errors.Conflict),
    ("LIMIT_MAXIMA", errors.LimitRangeExceeded),
    ("LIMIT_MINIMUM", errors.LimitRangeExceeded),
    ("LIMIT_RATIO", errors.LimitRangeExceeded),
    ("POD_SECURITY", errors.Rejected),
    ("NO_RIGHT", errors.Forbidden),
    ("NAMESPACE_ENDS", errors.Unavailable),
    ("PORT_ALLOCATED", errors.PortTaken),
    ("PORT_OUT_OF_RANGE", errors.PortOutOfRange),
    ("PORT_TWICE", errors.Unavailable),
    ("TWO_CONTROLLERS", errors.Rejected),
    ("INVALID", errors.Rejected),
    ("BAD_REQUEST", errors.Rejected),
    ("EXISTS", errors.AlreadyExists),
    ("MODIFIED", errors.Conflict),
    ("OTHER_UID", errors.Conflict),
    ("NOT_FOUND", errors.NotFound),
    ("EXPIRED", errors.Gone),
    ("EXPIRED_PAGE", errors.Gone),
    ("UNAUTHORIZED", errors.Unavailable),
    ("TOO_MANY", errors.Throttled),
    ("INTERNAL", errors.Unavailable),
    ("NO_LEADER", errors.Unavailable),
    ("OVERLOADED", errors.Unavailable),
    ("TOO_SLOW", errors.Unavailable),
]


@pytest.mark.parametrize(("name", "expected"), TABLE)
def test_answers(name: str, expected: type[errors.ApiError]) -> None:
    answer: Answer = getattr(said, name)
    error = _error(answer.code, _status_of(json.dumps(answer.status)))
    assert type(error) is expected
    assert str(error) == answer.message


def test_every_answer_is_in_the_table() -> None:
    known = {name for name, value in vars(said).items() if isinstance(value, Answer)}
    assert known == {name for name, _ in TABLE}


@pytest.mark.parametrize(
    ("code", "text", "expected", "message"),
    [
        (502, "<html>Bad Gateway</html>", errors.Unavailable, "<html>Bad Gateway</html>"),
        (502, "", errors.Unavailable, "HTTP 502"),
        (503, "null", errors.Unavailable, "null"),
        (504, '"timeout"', errors.Unavailable, '"timeout"'),
        (500, "[]", errors.Unavailable, "[]"),
        (404, "404 page not found", errors.NotFound, "404 page not found"),
        (403, "denied by the proxy", errors.Rejected, "denied by the proxy"),
        (500, "{}", errors.Unavailable, "HTTP 500"),
        (429, "slow down", errors.Throttled, "slow down"),
        (418, "", errors.Rejected, "HTTP 418"),
    ],
)
def test_what_is_not_the_api_servers(code: int, text: str, expected: type[errors.ApiError], message: str) -> None:
    error = _error(code, _status_of(text))
    assert (type(error), str(error)) == (expected, message)


def test_long_pages_are_cut() -> None:
    assert len(str(_error(502, _status_of("x" * 10_000)))) == 500


def test_a_quota_named_after_a_limit_range_is_a_quota() -> None:
    text = 'pods "p" is forbidden: exceeded quota: maximum cpu usage per team, requested: pods=1, used: pods=1'
    assert type(_error(403, {"message": text, "reason": "Forbidden"})) is errors.QuotaExceeded


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "path"),
    [
        (STACK, "stacks", "", "/apis/slipway.dev/v1alpha1/namespaces/stacks/stacks"),
        (STACK, "stacks", "a", "/apis/slipway.dev/v1alpha1/namespaces/stacks/stacks/a"),
        (POD, "stacks", "p", "/api/v1/namespaces/stacks/pods/p"),
        (SERVICE, "", "", "/api/v1/services"),
        (NODE, "", "n", "/api/v1/nodes/n"),
        (NODE, "stacks", "n", "/api/v1/nodes/n"),
        (NETWORK_POLICY, "s", "x", "/apis/networking.k8s.io/v1/namespaces/s/networkpolicies/x"),
        (POD, "a/../b", "../../nodes?x=#", "/api/v1/namespaces/a%2F..%2Fb/pods/..%2F..%2Fnodes%3Fx%3D%23"),
    ],
)
def test_paths(kind: Kind, namespace: str, name: str, path: str) -> None:
    assert _path(kind, namespace, name) == path
