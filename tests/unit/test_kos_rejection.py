"""Rejection notes as values: what they name, and what is none."""

from io import BytesIO

import pytest
from making import STUDY, ct, rejection_note

from drimbox.errors import Malformed, TooLarge
from drimbox.kos import rejection
from drimbox.kos.rejection import Rejection, find_rejection
from drimbox.model import InstanceRef


def written(made):
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def ref(series, number, study=STUDY):
    return InstanceRef(study, f"{study}.{series}", f"{study}.{series}.{number}")


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])  # PS3.16 CID 7011, IHE RAD TF-3 4.66
def test_a_note_names_its_title_and_its_instances_in_order(title):
    note = rejection_note(title, ct(2, 1), ct(1, 1), ct(1, 2), ct(1, 1, study="1.2.3"))
    read = find_rejection(written(note))
    assert read == Rejection(ref(99, 1), title, (ref(2, 1), ref(1, 1), ref(1, 2), ref(1, 1, "1.2.3")))


@pytest.mark.parametrize("title", ["113000", "113018", "113030", ""])
def test_other_titles_reject_nothing(title):
    assert find_rejection(written(rejection_note(title, ct()))) is None


def test_a_note_without_references_rejects_nothing_but_is_a_note():
    assert find_rejection(written(rejection_note("113001"))) == Rejection(ref(99, 1), "113001", ())


def test_an_instance_named_twice_is_one():
    assert find_rejection(written(rejection_note("113001", ct(), ct()))).rejected == (ref(1, 1),)


def test_an_unsafe_uid_refuses_the_note():
    note = rejection_note("113001", ct())
    evidence = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    evidence.ReferencedSOPSequence[0].add_new("ReferencedSOPInstanceUID", "UI", "")
    with pytest.raises(Malformed):
        find_rejection(written(note))


def test_an_image_is_no_note():
    with pytest.raises(Malformed):
        find_rejection(written(ct()))


def test_the_number_of_instances_is_bounded(monkeypatch):
    monkeypatch.setattr(rejection, "MAX_INSTANCES", 2)
    with pytest.raises(TooLarge):
        find_rejection(written(rejection_note("113001", ct(1, 1), ct(1, 2), ct(1, 3))))
