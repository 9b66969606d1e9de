"""Which reports are versions of one: by the CDA, by the MDM, by the exam, in this order."""

from dataclasses import replace

import pytest
from making import STUDY, report

from drimbox.errors import Conflict
from drimbox.model import Identifier
from drimbox.storage.versions import Known, Succession, related_keys, report_keys, succession

SET = Identifier("", "1.2.250.9.1")
DOC1, DOC2, DOC3 = (Identifier("", f"1.2.250.9.{n}") for n in (11, 12, 13))
FIRST = report("RIS|CENTRE|1", document_id=DOC1, set_id=SET, version=1, number="N1")
KNOWN = Known(1, "current", FIRST)


def arrival(**changes):
    base = {"document_id": DOC2, "set_id": Identifier("", "1.2.250.9.2"), "version": 0, "status": "C"}
    return report("RIS|CENTRE|2", **(base | changes))


@pytest.mark.parametrize(
    "how",
    [
        {"set_id": SET, "version": 2},
        {"replaces": (DOC1,)},
        {"document_id": DOC1},
        {"parent_number": "N1"},
        {},  # the same exam is enough for a correction
    ],
)
def test_a_correction_takes_the_place_of_the_version_before(how):
    assert succession(arrival(**how), [KNOWN]) == Succession("current", {1: "replaced"})


def test_a_second_report_of_an_exam_is_no_version_of_the_first():
    assert succession(arrival(status="F"), [KNOWN]) == Succession("current", {})


def test_a_correction_that_names_its_report_leaves_the_others_of_the_exam():
    other = Known(2, "current", report("RIS|CENTRE|7", document_id=DOC3))
    assert succession(arrival(replaces=(DOC1,)), [KNOWN, other]).changed == {1: "replaced"}


def test_reports_of_two_exams_in_one_set_are_two_reports():
    other = report("RIS|CENTRE|2", studies=("1.2.99",), document_id=DOC2, set_id=SET, version=2, status="C")
    assert succession(other, [KNOWN]) == Succession("current", {})


def test_an_older_version_that_comes_late_changes_nothing():
    late = report("RIS|CENTRE|0", document_id=DOC3, set_id=SET, version=1)
    newer = Known(1, "current", replace(FIRST, version=2, document_id=DOC2))
    assert succession(late, [newer]) == Succession("replaced", {})
    cancelled = Known(1, "cancelled", replace(FIRST, version=2, document_id=DOC2))
    assert succession(late, [cancelled]) == Succession("replaced", {})


def test_a_deletion_cancels_its_report_only():
    other = Known(2, "current", report("RIS|CENTRE|7", document_id=DOC3))
    deletion = arrival(status="D", replaces=(DOC1,))
    assert succession(deletion, [KNOWN, other]) == Succession("cancelled", {1: "cancelled"})


def test_a_deletion_in_the_name_of_another_patient_is_refused():
    patient = replace(FIRST.patient, ins=Identifier("1" * 15, "1.2.250.1.213.1.4.10"))
    with pytest.raises(Conflict):
        succession(arrival(status="D", set_id=SET, patient=patient), [KNOWN])


def test_document_numbers_are_those_of_their_sender():
    stranger = replace(arrival(status="F", parent_number="N1"), message_id="OTHER|CENTRE|2")
    assert succession(stranger, [KNOWN]).changed == {}


def test_a_version_is_found_by_what_it_names():
    new = arrival(set_id=SET, replaces=(DOC1,), parent_number="N1")
    assert set(related_keys(new)) & set(report_keys(FIRST)) == {
        f"study:{STUDY}", "doc:1.2.250.9.11^", "num:RIS|CENTRE|N1",
    }  # fmt: skip
