"""What a process has logged, as a program reads it."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from slipway.log import AUDIT, OURS, JsonFormatter


class Log:
    """Lines of our own loggers, from INFO on."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    @property
    def audit(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["logger"] == AUDIT]

    @contextmanager
    def listening(self) -> Iterator[Self]:
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(JsonFormatter())
        loggers = [logging.getLogger(name) for name in OURS]
        for logger in loggers:
            logger.addHandler(handler)
            logger.setLevel("INFO")
        yield self
        for logger in loggers:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
