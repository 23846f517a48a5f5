"""Middlewares on their own, where no server can bring about what they are made for."""

import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from api_gateway import audit
from api_gateway.principal import PRINCIPAL, Principal
from api_gateway.request_id import identify
from slipway import log


async def fails(_: web.Request) -> web.Response:
    assert log.request_id.get() == "mine"
    raise ZeroDivisionError


async def answers(_: web.Request) -> web.Response:
    assert log.request_id.get() == "mine"
    return web.Response()


async def test_a_request_id_is_over_with_its_request() -> None:
    request = make_mocked_request("GET", "/", headers={"X-Request-ID": "mine"})
    assert (await identify(request, answers)).headers["X-Request-ID"] == "mine"
    assert log.request_id.get() == ""
    with pytest.raises(ZeroDivisionError):
        await identify(request, fails)
    assert log.request_id.get() == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("oidc:x status=200\nwho=root", "oidc:x%20status%3D200%0Awho%3Droot"),
        ("oidc:\ud800", "oidc:%5Cud800"),
        ("user:\u202eé", "user:%E2%80%AE%C3%A9"),
        ("key:a%20b", "key:a%2520b"),
    ],
)
async def test_a_subject_cannot_pass_for_another_field(
    name: str, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An issuer may give whatever name it likes."""
    monkeypatch.setattr(audit, "is_mutation", lambda _: True)
    caplog.set_level(logging.INFO, "slipway.audit")
    request = make_mocked_request("DELETE", "/")
    request[PRINCIPAL] = Principal(name, tenant="acme")
    await audit.audit(request, lambda _: answers_anyhow())
    (record,) = caplog.records
    assert record.getMessage().startswith(f"who={told} tenant=acme client=")
    assert vars(record)["who"] == name


async def answers_anyhow() -> web.Response:
    return web.Response()
