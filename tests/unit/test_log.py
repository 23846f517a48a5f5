"""Lines of the log: one each, whatever a client has sent."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from slipway import log

NASTY = "a\nb\r\tc\x00\x1b[2J\x85\u2028\u202e\udcff\ud800\u200e"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What our own logger and a library's write, formatted as `formatted_as` says."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    loggers = [logging.getLogger(name) for name in ("slipway.test", "kopf.test")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel("INFO")
        logger.propagate = False
    yield stream
    for logger in loggers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


def formatted_as(formatter: logging.Formatter) -> logging.Logger:
    logger = logging.getLogger("slipway.test")
    logger.handlers[0].setFormatter(formatter)
    return logger


@pytest.fixture
def in_a_request() -> Iterator[None]:
    token = log.request_id.set("r-1")
    yield
    log.request_id.reset(token)


def fails(text: str) -> None:
    raise ValueError(text)


def test_json(written: io.StringIO) -> None:
    formatted_as(log.JsonFormatter()).info("made %s", "x", extra={"stack": "uid-1", "ms": 3})
    (line,) = written.getvalue().splitlines()
    said = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said.pop("time"))
    assert said == {"level": "INFO", "logger": "slipway.test", "message": "made x", "stack": "uid-1", "ms": 3}


def test_json_in_a_request(written: io.StringIO, in_a_request: None) -> None:
    formatted_as(log.JsonFormatter()).warning("x", extra={"request_id": "forged", "level": "forged"})
    said = json.loads(written.getvalue())
    assert (said["request_id"], said["level"]) == ("r-1", "WARNING")


def test_json_with_an_exception_is_one_line(written: io.StringIO) -> None:
    logger = formatted_as(log.JsonFormatter())
    try:
        fails(NASTY)
    except ValueError:
        logger.exception(NASTY, stack_info=True, extra={"odd": {1}, "nasty": NASTY})
    (line,) = written.getvalue().splitlines()
    assert line.isascii()
    said = json.loads(line)
    assert (said["message"], said["nasty"], said["odd"]) == (NASTY, NASTY, "{1}")
    assert said["exception"].startswith("Traceback")
    assert "ValueError: a\nb" in said["exception"]
    assert "in fails" in said["exception"]
    assert said["stack"]


def test_what_a_library_hangs_on_its_lines_is_left_out(written: io.StringIO) -> None:
    formatted_as(log.JsonFormatter())
    logging.getLogger("kopf.test").warning("x", extra={"settings": "all of them"})
    assert json.loads(written.getvalue()).keys() == {"time", "level", "logger", "message"}


def test_text(written: io.StringIO) -> None:
    formatted_as(log.TextFormatter()).info("made %s", "x", extra={"ms": 3})
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO    slipway\.test: made x\n", written.getvalue())


def test_text_in_a_request(written: io.StringIO, in_a_request: None) -> None:
    formatted_as(log.TextFormatter()).info("x")
    assert written.getvalue().endswith(" INFO    slipway.test [r-1]: x\n")


def test_nothing_can_begin_a_line_of_text(written: io.StringIO) -> None:
    logger = formatted_as(log.TextFormatter())
    try:
        fails("x\n2026-01-01 00:00:00,000 INFO    slipway.audit: who=forged\x1b")
    except ValueError:
        logger.exception(NASTY, stack_info=True)
    first, *rest = written.getvalue().split("\n")[:-1]
    assert first.endswith(r"slipway.test: a\nb\r\tc\x00\x1b[2J\x85\u2028\u202e\udcff\ud800\u200e")
    assert rest
    assert all(line.startswith("  ") for line in rest)
    assert "\x1b" not in written.getvalue()


@pytest.mark.parametrize("text", ["", "plain", "Grüße, 日本", "a\\b", "'\""])
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert log.escaped(text) == text


PROGRAM = """
import logging, sys
from slipway import log
log.configure(*sys.argv[1:])
for name in ("slipway.x", "api_gateway.x", "slipway.audit", "kopf.x"):
    for level in (logging.INFO, logging.WARNING):
        logging.getLogger(name).log(level, "said", extra={"a": 1})
assert sys.getrecursionlimit() == log.DEPTH
"""


def configured(*arguments: str) -> list[str]:
    """Lines of a process that has configured itself so."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("INFO", ["slipway.x INFO", "slipway.x WARNING", "api_gateway.x INFO", "api_gateway.x WARNING"]),
        ("WARNING", ["slipway.x WARNING", "api_gateway.x WARNING"]),
        ("ERROR", []),
    ],
)
def test_the_level_is_of_our_own_loggers_and_audit_is_always_heard(level: str, heard: list[str]) -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in configured(level, "json")]
    told = [f"{line['logger']} {line['level']}" for line in lines]
    assert told == [*heard, "slipway.audit INFO", "slipway.audit WARNING", "kopf.x WARNING"]
    assert all(("a" in line) is (line["logger"] != "kopf.x") for line in lines)


def test_a_process_that_writes_text() -> None:
    lines = configured("ERROR", "text")
    assert [line.split(" ", 2)[2] for line in lines] == [
        "INFO    slipway.audit: said",
        "WARNING slipway.audit: said",
        "WARNING kopf.x: said",
    ]
