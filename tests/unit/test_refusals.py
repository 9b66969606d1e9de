"""A refusal is told at once, then not again for ten seconds, with how many there were."""

from drimbox.dicom_scp import refusals
from drimbox.dicom_scp.refusals import Refusals


def test_the_first_is_told_the_others_are_told_together():
    told = Refusals()
    assert [told.count("a", now) for now in (0, 1, 9.9)] == [1, 0, 0]
    assert told.count("b", 9.9) == 1
    assert [told.count("a", now) for now in (10, 11, 25)] == [3, 0, 2]


def test_kinds_are_bounded(monkeypatch):
    monkeypatch.setattr(refusals, "_MOST_KINDS", 3)
    told = Refusals()
    assert [told.count(kind, 0) for kind in "abcd"] == [1, 1, 1, 1]
    assert told.count("b", 1) == 0
    assert told.count("e", 1) == 1  # the one that goes is c, not seen since
    assert told.count("b", 1) == 0
    assert told.count("c", 1) == 1
