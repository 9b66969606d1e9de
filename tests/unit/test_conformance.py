"""The conformance statement says what the code does: its tables are those that are made from it."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "conformance"))
from tables import DOCUMENT, TABLES, filled, places


def test_every_table_is_in_the_document_once() -> None:
    assert sorted(places(DOCUMENT.read_text())) == sorted(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_the_document_says_what_the_code_does(name: str) -> None:
    made = TABLES[name]()
    assert made in DOCUMENT.read_text(), "run scripts/conformance, and read what changed"


def test_filling_again_changes_nothing() -> None:
    assert filled(DOCUMENT.read_text()) == DOCUMENT.read_text(), "run scripts/conformance"


def test_what_the_statement_must_say_of_any_archive() -> None:
    """Known from the standard, not from the code."""
    said = TABLES["services"]()
    for uid in ("1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.1.2"):
        assert f"`{uid}`" in said
    assert "`1.2.840.10008.5.1.4.31`" not in said  # no worklist is served
    assert (
        "| (0020,000D) | StudyInstanceUID | UI | STUDY | U | single value, list of UIDs |"
        in TABLES["C-FIND attributes"]()
    )
    assert "| (0010,0010) | PatientName | PN | STUDY | R | single value, wild card; without case and accents |" in (
        TABLES["C-FIND attributes"]()
    )
    assert "`1.2.840.10008.5.1.4.1.1.2`" in TABLES["storage classes"]()
    assert "| JPEG 2000 Image Compression | `1.2.840.10008.1.2.4.91` | may be lossy |" in TABLES["transfer syntaxes"]()
