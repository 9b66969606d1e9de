"""Every event that may ask for the operator is in docs/operations.md, and nothing that never happens."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_each_warning_and_error_is_explained_and_each_explained_one_exists():
    code = "\n".join(file.read_text() for file in (ROOT / "drimbox").rglob("*.py"))
    asking = set(re.findall(r'log\.(?:warning|error|exception|log)\(\s*(?:[^"()]*,\s*)?"(\w+)"', code))
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert asking - explained == set()
    assert {name for name in explained - {"damaged", "set_aside"} if f'"{name}"' not in code} == set()
