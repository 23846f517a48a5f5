"""The operator: `python operator/main.py`. Settings come from the environment."""

import uvloop

from slipway import log
from slipway.errors import SlipwayError
from slipway.reconcilers.operator import run
from slipway.settings import load


def main() -> None:
    settings = load()
    log.configure(settings.log_level, settings.log_format)
    try:
        uvloop.run(run(settings))
    except SlipwayError as error:
        raise SystemExit(f"the operator cannot go on: {error}") from error


if __name__ == "__main__":
    main()
