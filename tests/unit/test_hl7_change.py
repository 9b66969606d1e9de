"""Corrections, deletions, study changes and merges in HL7 v2 (tables 0085 and 0119, drim-m.md B.1, B.2)."""

from datetime import UTC, datetime

import pytest

from drimbox.errors import Conflict, Malformed
from drimbox.hl7.inbound import read_inbound
from drimbox.hl7.message import parse_message
from drimbox.model import Identifier
from drimbox.sandbox.ris import PATIENT, Study, build_mdm, build_oru

AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
STUDY = Study("1.2.250.1.999.5", "IPP101", "ACN5", "CT")
INS = "279035121518989^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.10&ISO^INS"
IPP = "IPP101^^^AUT-AFFECTATION&1.2.250.1.213.4.5.2.4&ISO^PI"


def read(*lines):
    return read_inbound(parse_message("\r".join(lines).encode()))


def msh(kind, version="2.5.1"):
    return f"MSH|^~\\&|RIS|CENTRE|BOX|SITE|20260102||{kind}|M1|P|{version}|||||FRA|UNICODE UTF-8"


def pid(*ids, status="VALI"):
    fields = ["PID", "", "", "~".join(ids), "", "PAT-TROIS^DOMINIQUE^^^^^L", "", "19790328", "F"]
    return "|".join([*fields, *[""] * 23, status])


@pytest.mark.parametrize(
    ("observed", "ordered", "status"),
    [
        ("F", "NW", "F"),
        ("C", "RO", "C"),
        ("D", "NW", "D"),
        ("X", "", "D"),
        ("W", "", "D"),
        ("F", "CA", "D"),
        ("U", "", "F"),
    ],
)
def test_what_an_oru_does_to_its_report(observed, ordered, status):
    data = build_oru(STUDY, AT).replace(b"|||||F\rPRT", b"|||||%s\rPRT" % observed.encode())
    data = data.replace(b"ORC|NW", b"ORC|" + ordered.encode())
    assert read_inbound(parse_message(data)).status == status


@pytest.mark.parametrize(("event", "status"), [("T02", "F"), ("T10", "C"), ("T04", "D")])
def test_what_an_mdm_does_to_its_report(event, status):
    data = build_mdm(STUDY, AT).replace(b"MDM^T02^", b"MDM^%s^" % event.encode())
    assert read_inbound(parse_message(data)).status == status


@pytest.mark.parametrize(("control", "cancelled"), [("CA", True), ("OC", True), ("NW", False), ("SC", False)])
def test_a_study_change_is_known_by_its_ipc(control, cancelled):
    notice = read(msh("OMI^O23^OMI_O23"), pid(IPP, INS), f"ORC|{control}", "IPC|ACN124|RP|1.2.250.1.213.4.5.2.1.124|S")
    assert (notice.study_uid, notice.accession, notice.cancelled) == ("1.2.250.1.213.4.5.2.1.124", "ACN124", cancelled)
    assert (notice.ins.value, notice.local_id.value) == ("279035121518989", "IPP101")


@pytest.mark.parametrize("procedure", ["IPC|ACN124|RP||S", "OBX|1", "IPC|||1.2.3\rIPC|||1.2.4", "IPC|||../x"])
def test_a_study_change_names_one_study(procedure):
    with pytest.raises(Malformed):
        read(msh("OMI^O23^OMI_O23"), pid(IPP, INS), "ORC|CA", procedure)


def test_a_merge_says_who_stays_and_what_goes():
    merge = read(msh("ADT^A40^ADT_A39"), "EVN|A40", pid(IPP, INS), "MRG|IPP7^^^AUT&1.2.250.1.213.4.5.2.4&ISO^PI")
    assert merge.gone == (Identifier("IPP7", "1.2.250.1.213.4.5.2.4", "AUT"),)
    assert (merge.survivor.ins, merge.survivor.local_id) == (PATIENT.ins, PATIENT.local_id)
    assert merge.survivor.qualified


@pytest.mark.parametrize("merged", ["EVN|A40", "MRG|", "MRG|A^^^X&1.2\rMRG|B^^^X&1.2"])
def test_a_merge_of_nothing_or_of_several_is_refused(merged):
    with pytest.raises(Malformed):
        read(msh("ADT^A40^ADT_A39"), pid(IPP, INS), merged)


def test_a_merge_into_two_identities_is_refused():
    with pytest.raises(Conflict):
        read(msh("ADT^A40^ADT_A39"), pid(INS, INS.replace("279", "179")), "MRG|IPP7^^^X&1.2")
