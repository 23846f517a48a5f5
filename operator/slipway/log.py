"""What both processes set up first: logging, and room for deep data."""

import logging
import sys

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


# The API server stores JSON that is 10,000 levels deep, and a template may be. Reading it must not be what fails.
DEPTH = 12_000


def configure(level: str) -> None:
    """Lines to standard error. level: of our own loggers; libraries speak from WARNING on."""
    sys.setrecursionlimit(DEPTH)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # what a client garbles is no error of ours
    logging.basicConfig(format=FORMAT, level=logging.WARNING)
    for ours in ("slipway", "api_gateway"):
        logging.getLogger(ours).setLevel(level)
