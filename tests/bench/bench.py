"""Figures, side by side with the peers: `scripts/bench ingest`, `find`, `pixels`, `publish`, `qido`, `serve`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import find
import ingest
import pixels
import publish
import qido
import serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for module in (ingest, find, pixels, publish, qido, serve):
        name = module.__name__
        command = commands.add_parser(name, help=(module.__doc__ or "").partition("\n")[0])
        module.add_arguments(command)
        command.set_defaults(main=module.main)
    options = parser.parse_args()
    return int(options.main(options))


if __name__ == "__main__":
    sys.exit(main())
