"""Logging as both processes set it up."""

import logging

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure(level: str) -> None:
    """Lines to standard error. level: of our own loggers; libraries speak from WARNING on."""
    logging.basicConfig(format=FORMAT, level=logging.WARNING)
    for ours in ("slipway", "api_gateway"):
        logging.getLogger(ours).setLevel(level)
