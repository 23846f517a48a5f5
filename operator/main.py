"""The operator: `python operator/main.py [--liveness URL]`. Settings come from the environment."""

import argparse

import uvloop

from slipway import log
from slipway.reconcilers.operator import run
from slipway.settings import load


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the Slipway operator until it is told to stop.")
    parser.add_argument(
        "--liveness", metavar="URL", help="answer health checks here, e.g. http://127.0.0.1:8081/healthz"
    )
    liveness = parser.parse_args().liveness
    settings = load()
    log.configure(settings.log_level)
    uvloop.run(run(settings, liveness))


if __name__ == "__main__":
    main()
