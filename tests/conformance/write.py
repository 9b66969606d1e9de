"""Write the tables of docs/conformance.md anew. Called by scripts/conformance."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from tables import DOCUMENT, filled  # noqa: E402 the path comes first

DOCUMENT.write_text(filled(DOCUMENT.read_text()))
