"""What both processes set up first: logging, and room for deep data."""

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
AUDIT = "slipway.audit"
"""Logger of who changed what."""

# The API server stores JSON that is 10,000 levels deep, and a template may be. Reading it must not be what fails.
DEPTH = 12_000

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request at hand; "" where none is. Tasks that it starts inherit it."""

OURS = ("slipway", "api_gateway")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What could begin a line, move the cursor or turn the direction of a terminal's text; and what is no UTF-8.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def configure(level: str, format_: str) -> None:
    """Lines to standard error. level: of our own loggers; libraries speak from WARNING on. format_: text or json."""
    sys.setrecursionlimit(DEPTH)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # what a client garbles is no error of ours
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if format_ == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    for ours in OURS:
        logging.getLogger(ours).setLevel(level)
    logging.getLogger(AUDIT).setLevel(logging.INFO)  # whatever the level: nobody misses an audit by a quiet log


def escaped(text: str) -> str:
    """The text on one line, for what clients send is in it."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


class TextFormatter(logging.Formatter):
    """Lines for people. Only tracebacks take several, and these are indented: no message can begin a line."""

    def format(self, record: logging.LogRecord) -> str:
        where = f"{record.name} [{identity}]" if (identity := request_id.get()) else record.name
        when, said = self.formatTime(record), record.getMessage()
        lines = [FORMAT % {"asctime": when, "levelname": record.levelname, "name": where, "message": said}]
        if record.exc_info:
            lines += self.formatException(record.exc_info).split("\n")
        if record.stack_info:
            lines += self.formatStack(record.stack_info).split("\n")
        return "\n  ".join(escaped(line) for line in lines)


class JsonFormatter(logging.Formatter):
    """One ASCII object a line, with the fields of our own loggers alone: libraries hang whole objects on theirs."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identity := request_id.get():
            said["request_id"] = identity
        if record.name.partition(".")[0] in OURS:
            said |= {k: v for k, v in vars(record).items() if k not in _STANDARD and k not in said}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            said["stack"] = self.formatStack(record.stack_info)
        return json.dumps(said, default=str)
