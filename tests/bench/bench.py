"""Figures, side by side with the peers: `scripts/bench ingest`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import ingest


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    ingest.add_arguments(commands.add_parser("ingest", help=(ingest.__doc__ or "").partition("\n")[0]))
    return ingest.main(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
