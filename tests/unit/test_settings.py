"""Settings from the environment, and `slipway config`."""

import json
from collections.abc import Coroutine
from typing import Any

import pytest
from pydantic import ValidationError

from api_gateway import app as gateway
from slipway.cli import main
from slipway.errors import InvalidInput
from slipway.rules.addresses import is_loopback
from slipway.settings import Settings, problems

DEFAULTS = {
    "SLIPWAY_HOST": "127.0.0.1",
    "SLIPWAY_PORT": 8080,
    "SLIPWAY_API_KEY": None,
    "STACK_NAMESPACE": "stacks",
    "STACK_MAX_PER_USER": 5,
    "STACK_TTL": "7200s",
    "STACK_SCHEDULER_INTERVAL": "10s",
    "STACK_NODEPORT_MIN": 30000,
    "STACK_NODEPORT_MAX": 32767,
    "STACK_PORT_LOCK_TTL": "30s",
    "STACK_RESOURCE_RESERVE_RATIO": 0.2,
    "STACK_SCHEDULING_TIMEOUT": "20s",
    "STACK_MAX_CPU": "2",
    "STACK_MAX_MEMORY": "512Mi",
    "STACK_EGRESS_CIDRS": "",
}

BAD = [
    ("SLIPWAY_PORT", "x"),
    ("SLIPWAY_PORT", "65536"),
    ("SLIPWAY_PORT", "-1"),
    ("SLIPWAY_LOG_LEVEL", "LOUD"),
    ("SLIPWAY_WORKERS", "0"),
    ("SLIPWAY_REQUEST_TIMEOUT", "0s"),
    ("SLIPWAY_API_KEY", ""),
    ("SLIPWAY_API_KEY", "short"),
    ("STACK_TTL", "2"),
    ("STACK_TTL", "-2h"),
    ("STACK_TTL", ""),
    ("STACK_TTL_MAX", "721h"),
    ("STACK_TTL_MAX", "999ms"),
    ("SLIPWAY_LOG_FORMAT", "xml"),
    ("SLIPWAY_CLIENT_WRITES", "0"),
    ("STACK_RATE_PER_USER", "0"),
    ("STACK_MAX_PER_USER", "0"),
    ("STACK_MAX_PER_USER", "many"),
    ("STACK_NODEPORT_MIN", "0"),
    ("STACK_RESOURCE_RESERVE_RATIO", "1"),
    ("STACK_RESOURCE_RESERVE_RATIO", "-0.1"),
    ("STACK_RESOURCE_RESERVE_RATIO", "nan"),
    ("STACK_MAX_CPU", "0"),
    ("STACK_MAX_CPU", "two"),
    ("STACK_MAX_MEMORY", "512MB"),
    ("STACK_EGRESS_CIDRS", "10.0.0.0/8,nope"),
    ("STACK_EGRESS_CIDRS", "10.0.0.1/8"),
    ("STACK_SCHEDULING_TIMEOUT", "20"),
    ("DDB_STACK_TABLE", "st"),
    ("DDB_STACK_TABLE", "arn:aws:dynamodb:eu-west-1:123456789012:table/stacks"),
]


def config(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """(exit code, standard output, complaint)"""
    try:
        code, complaint = main(["config", *arguments]), ""
    except SystemExit as refused:
        code, complaint = 1, str(refused.code)
    return code, capsys.readouterr().out, complaint


def test_defaults_are_those_of_the_documents(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = config(capsys, "--json")
    assert code == 0
    shown = json.loads(out)
    assert shown.items() >= DEFAULTS.items()
    assert len(shown) == len(Settings.model_fields)


def test_every_setting_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "SLIPWAY_PORT": "9090",
        "SLIPWAY_API_KEY": "k" * 16,
        "SLIPWAY_REQUEST_TIMEOUT": "500ms",
        "STACK_NAMESPACE": "ctf",
        "STACK_TTL": "1h30m",
        "STACK_MAX_CPU": "1500m",
        "STACK_MAX_MEMORY": "1Gi",
        "STACK_RESOURCE_RESERVE_RATIO": "0",
        "STACK_EGRESS_CIDRS": "10.0.0.0/8, 2001:db8::/32,",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.port, settings.request_timeout, settings.stack_namespace) == (9090, 0.5, "ctf")
    assert settings.api_key
    assert settings.api_key.get_secret_value() == "k" * 16
    assert (settings.stack_ttl, settings.stack_max_cpu, settings.stack_max_memory) == (5400.0, 1500, 2**30)
    assert settings.stack_resource_reserve_ratio == 0
    assert [str(network) for network in settings.stack_egress_cidrs] == ["10.0.0.0/8", "2001:db8::/32"]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_names_its_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    code, out, err = config(capsys)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith(f"{name}: ")
    assert "pydantic" not in line


def test_every_bad_value_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STACK_TTL", "x")
    monkeypatch.setenv("SLIPWAY_PORT", "x")
    assert sorted(line.split(":")[0] for line in config(capsys)[2].splitlines()) == ["SLIPWAY_PORT", "STACK_TTL"]


def test_a_range_that_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STACK_NODEPORT_MIN", "30002")
    monkeypatch.setenv("STACK_NODEPORT_MAX", "30001")
    code, _, err = config(capsys)
    assert code == 1
    assert "STACK_NODEPORT_MIN must not be above STACK_NODEPORT_MAX" in err


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_secrets_are_masked(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLIPWAY_API_KEY", "correct-horse-battery")
    code, out, err = config(capsys, *arguments)
    assert code == 0
    assert "SLIPWAY_API_KEY" in out
    assert "correct-horse" not in out + err
    assert "**" in out


def test_a_bad_secret_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_API_KEY", "hunter2")
    with pytest.raises(ValidationError) as error:
        Settings()
    assert "hunter2" not in "".join(problems(error.value))


def test_the_plain_form_is_one_line_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = config(capsys)
    lines = out.splitlines()
    assert len(lines) == len(Settings.model_fields)
    assert "STACK_MAX_PER_USER=5" in {line.split(" ")[0] for line in lines}
    assert all("# " in line for line in lines if "MAX_PER_USER" in line)


def test_what_keeps_the_gateway_from_starting_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_app(app: Coroutine[Any, Any, Any], **_: Any) -> None:
        app.close()
        raise InvalidInput("SLIPWAY_OIDC_ISSUER", "must be an https:// URL")

    monkeypatch.setattr("aiohttp.web.run_app", run_app)
    monkeypatch.setattr("slipway.log.configure", lambda *_: None)
    with pytest.raises(SystemExit, match=r"^the gateway cannot start: SLIPWAY_OIDC_ISSUER: must be an https:// URL$"):
        gateway.main()


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("127.0.0.1.nip.io", False),
        ("2130706433", False),
        ("", False),
    ],
)
def test_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_what_is_printed_means_the_same_when_it_is_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STACK_EGRESS_CIDRS", "10.0.0.0/8,2001:db8::/32")
    before = Settings()
    printed = json.loads(config(capsys, "--json")[1])
    for name, value in printed.items():
        if value is not None:
            monkeypatch.setenv(name, str(value))
    assert Settings() == before
