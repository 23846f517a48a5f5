"""The operator: `python operator/main.py [--liveness URL]`. Settings come from the environment."""

import argparse

import uvloop

from slipway import log
from slipway.errors import ApiError
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
    try:
        uvloop.run(run(settings, liveness))
    except ApiError as error:  # what fails later is tried again
        raise SystemExit(f"the operator cannot start: {error}") from error


if __name__ == "__main__":
    main()
