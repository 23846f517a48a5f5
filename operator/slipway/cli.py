"""The `slipway` command."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from slipway.access import commands as access
from slipway.settings import Settings, load, variable


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="slipway", description="Look after a Slipway installation.")
    commands = parser.add_subparsers(dest="command", required=True)
    config = commands.add_parser("config", help="print every setting, its value and what it is for")
    config.add_argument("--json", action="store_true", help="as JSON, for programs")
    config.set_defaults(run=_config)
    access.add_to(commands)
    arguments = parser.parse_args(argv)
    code: int = arguments.run(arguments)
    return code


def _config(arguments: argparse.Namespace) -> int:
    rows = list(_settings())
    if arguments.json:
        print(json.dumps({name: value for name, value, _ in rows}, indent=2))
    else:
        for name, value, description in rows:
            print(f"{name}={'' if value is None else value}".ljust(44), f"# {description}" if description else "")
    return 0


def _settings() -> Iterator[tuple[str, object, str]]:
    """(environment variable, value in effect with secrets masked, what it is for)"""
    values = load().model_dump(mode="json")
    for name, field in Settings.model_fields.items():
        yield variable(name), values[name], field.description or ""


if __name__ == "__main__":
    sys.exit(main())
