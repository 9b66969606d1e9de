"""From a message to a Report. The CDA of tests/data/hl7 was written by hand; expected values are read in it."""

import base64
import os
import re
from contextlib import suppress
from pathlib import Path

import pytest

from drimbox.errors import Conflict, DrimboxError, Malformed, NotAcceptable, TooLarge
from drimbox.hl7.cda import read_cda
from drimbox.hl7.inbound import read_inbound
from drimbox.hl7.message import parse_message
from drimbox.model import Code, Identifier, Order, Report

ROOT = Path(__file__).parents[2]
CDA = (ROOT / "tests/data/hl7/report-two-exams.xml").read_bytes()
INS = "268019911122233^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.10&ISO^INS"
PID = (
    f"PID|||IPP7^^^CENTRE&1.2.250.1.999.1&ISO^PI~{INS}||INVENTEE^ZOE^ZOE ANNE^^^^L~INVENTEE-DURAND^ZOE^^^^^D||19680101"
)
PID += "|F|||1 rue X^^PARIS^^75001^FRA^H~^^^^^^BDL^^2A004" + "|" * 21 + "VALI"


def message(
    cda: bytes = CDA,
    *,
    kind: str = "ORU^R01^ORU_R01",
    pid: str = PID,
    status: str = "F",
    version: str = "2.5",
    charset: str = "UNICODE UTF-8",
    more: tuple[str, ...] = (),
    value: str | None = None,
) -> bytes:
    data = value if value is not None else "^TEXT^XML^Base64^" + base64.b64encode(cda).decode()
    lines = [
        f"MSH|^~\\&|RIS|CENTRE|BOX|SITE|20260102||{kind}|M1|P|{version}|||||FRA|{charset}",
        *([pid] if pid else []),
        "ORC|NW",
        "OBR|1|||18748-4^CR^LN",
        f"OBX|1|ED|18748-4^CR d'imagerie médicale^LN||{data}||||||{status}|",
        *more,
    ]
    return "\r".join(lines).encode()


def read(data: bytes) -> Report:
    return read_inbound(parse_message(data))


def flag(name: str, value: str) -> str:
    return f"OBX|2|CWE|{name}^text^MetaDMPMSS||{value}^^expandedYes-NoIndicator||||||F"


def test_the_whole_report():
    data = message()
    report = read(data)
    assert report.message_id == "RIS|CENTRE|M1"
    assert (report.message, report.cda, report.status) == (data, CDA, "F")
    assert report.document_id == Identifier("CR-12", "1.2.250.1.999.4.12")
    assert report.title == "Scanner du thorax et échographie"
    assert report.created == "20260102111700+0100"
    assert report.confidentiality == ("MASQUE_PS",)
    assert (report.secret_connection, report.to_dmp) == (False, True)


def test_the_patient_and_its_strict_traits():
    patient = read(message()).patient
    assert patient.ins == Identifier("268019911122233", "1.2.250.1.213.1.4.10", "ASIP-SANTE-INS-NIR")
    assert patient.local_id == Identifier("IPP7", "1.2.250.1.999.1", "CENTRE")
    assert (patient.family, patient.given, patient.birth_given_names) == ("INVENTEE", "ZOE", "ZOE ANNE")
    assert (patient.used_family, patient.used_given) == ("INVENTEE-DURAND", "ZOE")
    assert (patient.birth_date, patient.sex, patient.birth_place) == ("19680101", "F", "2A004")
    assert patient.qualified


def test_people_and_structures_are_chosen_by_root():
    report = read(message())
    practice = "1.2.250.1.213.1.1.4.9"
    assert report.author.id == Identifier("810000000001", "1.2.250.1.71.4.2.1")
    assert (report.author.family, report.author.given) == ("AUTEUR", "Ada")
    assert report.author.profession == Code("G15_10/SM44", "1.2.250.1.213.1.1.4.5", "Médecin - Radio-diagnostic (SM)")
    assert report.legal_authenticator.id.value == "810000000002"
    assert (report.author_structure.id.value, report.author_structure.name) == ("1990000001", "Clinique Alpha")
    assert report.author_structure.practice == Code("ETABLISSEMENT", practice, "Etablissement")
    assert report.legal_structure.id == Identifier("1990000002", "1.2.250.1.71.4.2.2")
    assert report.legal_structure.practice == Code("AMBULATOIRE", practice, "Ambulatoire")
    assert report.legal_structure.sector == Code("SA08", "1.2.250.1.71.4.2.4", "Cabinet de groupe")


def test_one_exam_a_study_paired_with_its_order():
    first, second = read(message()).exams
    assert (first.study_uid, second.study_uid) == ("1.2.250.1.999.2.101", "1.2.250.1.999.2.102")
    # A third act has no study and there are two orders for the two studies: they go by pairs.
    assert first.accession == Identifier("ACN1", "1.2.250.1.999.5")
    assert (first.perhaps, second.perhaps) == ((), ())
    assert second.accession == Identifier("ACN2", "1.2.250.1.999.5")
    assert (first.order, second.order) == (Identifier("OPN1", "1.2.250.1.999.6"), Identifier("OPN2", "1.2.250.1.999.6"))
    assert first.acts == (Code("ZBQK001", "1.2.250.1.215.300.1", "Scanographie du thorax"),)
    assert first.modalities == (Code("CT", "1.2.840.10008.2.16.4", "Tomodensitométrie"),)
    assert first.regions == (Code("67734004", "2.16.840.1.113883.6.96", "Thorax"),)
    assert (first.started, first.stopped) == ("20260102102500+0100", "20260102103000+0100")
    # The region of the second one stands under the OID of the acts, as in reports in service.
    assert (second.acts, second.regions) == ((), (Code("63337009", "1.2.250.1.213.2.5", "Abdomen"),))


def cut(pattern: str, cda: bytes = CDA) -> bytes:
    changed = re.sub(pattern.encode(), b"", cda, count=1, flags=re.DOTALL)
    assert changed != cda
    return changed


SECOND_ORDER = r"<inFulfillmentOf>(?:(?!</inFulfillmentOf>).)*ACN2.*?</inFulfillmentOf>"
SECOND_ACT = r"<documentationOf>(?:(?!</documentationOf>).)*2\.102.*?</documentationOf>"


def test_a_single_order_serves_every_exam():
    accessions = [exam.accession for exam in read(message(cut(SECOND_ORDER))).exams]
    assert accessions == [Identifier("ACN1", "1.2.250.1.999.5")] * 2


ORDERS = tuple(
    Order(Identifier(f"ACN{n}", "1.2.250.1.999.5"), Identifier(f"OPN{n}", "1.2.250.1.999.6")) for n in (1, 2)
)


def test_orders_that_cannot_be_paired_are_not_guessed():
    (exam,) = read(message(cut(SECOND_ACT))).exams
    assert (exam.accession, exam.order) == (None, None)
    assert exam.perhaps == ORDERS


def test_acts_of_one_study_are_one_exam():
    (exam,) = read(message(CDA.replace(b"999.2.102", b"999.2.101"))).exams
    assert [code.value for code in exam.regions] == ["67734004", "63337009"]
    assert (exam.accession, exam.order) == (None, None)  # of two different orders
    assert exam.perhaps == ORDERS
    assert exam.started == "20260102102500+0100"


def test_a_modality_by_its_french_initials_is_the_one_dicom_knows():
    cda = CDA.replace(b'code="CT" displayName', b'code="RM" displayName')
    assert cda != CDA
    assert next(code.value for exam in read(message(cda)).exams for code in exam.modalities) == "MR"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"INVISIBLE_PATIENT": "Y"}, ("MASQUE_PS", "INVISIBLE_PATIENT")),
        ({"INVISIBLE_REP_LEGAUX": "Y", "MASQUE_PS": "Y"}, ("MASQUE_PS", "INVISIBLE_REPRESENTANTS_LEGAUX")),
        ({"INVISIBLE_REPRENSANTS_LEGAUX": "Y"}, ("MASQUE_PS", "INVISIBLE_REPRESENTANTS_LEGAUX")),
        ({"INVISIBLE_PATIENT": "N", "DESTDMP": "Y"}, ("MASQUE_PS",)),
    ],
)
def test_masking_flags_become_confidentiality_codes(flags, expected):
    report = read(message(more=tuple(flag(*item) for item in flags.items())))
    assert report.confidentiality == expected
    assert report.to_dmp


def test_destination_and_secret_connection():
    report = read(message(more=(flag("DESTDMP", "N"), flag("CONNEXION_SECRETE", "Y"))))
    assert (report.to_dmp, report.secret_connection) == (False, True)


def test_mail_bodies_are_not_taken_for_the_report():
    mail = "OBX|9|ED|CORPSMAIL_PS^Corps^MetaDMPMSS||^text^^Base64^Q2hlciBjb25mcsOocmU=||||||F"
    lines = message(kind="MDM^T02^MDM_T02", version="2.6").split(b"\r")
    assert read(b"\r".join([*lines[:4], mail.encode(), *lines[4:]])).document_id.value == "CR-12"


def test_text_xml_base64_in_any_case_and_corrected():
    data = "^text^xml^BASE64^" + base64.b64encode(CDA).decode()
    assert read(message(value=data, status="C")).status == "C"


# --- Identity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pid",
    [
        PID.replace("268019911122233", "168019911122233"),
        PID.replace("1.2.250.1.213.1.4.10", "1.2.250.1.213.1.4.8"),
        PID.replace("||INVENTEE", f"~{INS.replace('268', '168')}||INVENTEE", 1),
    ],
)
def test_two_ins_are_a_conflict(pid):
    with pytest.raises(Conflict) as refused:
        read(message(pid=pid))
    assert "1990" not in str(refused.value) and "268019911122233" not in str(refused.value)


def test_an_expired_ins_is_not_in_force():
    old = INS.replace("268", "168") + "^^^20200101"
    pid = PID.replace("||INVENTEE", f"~{old}||INVENTEE", 1)
    assert read(message(pid=pid)).patient.ins == Identifier(
        "268019911122233", "1.2.250.1.213.1.4.10", "ASIP-SANTE-INS-NIR"
    )


@pytest.mark.parametrize(
    "pid",
    ["", PID.removesuffix("VALI"), PID.removesuffix("VALI") + "PROV", PID.replace("~" + INS, "")],
    ids=["no PID", "no status", "provisional", "no INS in PID"],
)
def test_identities_that_are_not_qualified(pid):
    patient = read(message(pid=pid)).patient
    assert not patient.qualified
    assert patient.ins is not None and patient.ins.value == "268019911122233"
    assert (patient.family, patient.birth_place) == ("INVENTEE", "2A004")


def test_the_cda_completes_the_authority_of_the_local_identifier():
    pid = PID.replace("IPP7^^^CENTRE&1.2.250.1.999.1&ISO^PI", "IPP7^^^CENTRE^PI")
    assert read(message(pid=pid)).patient.local_id == Identifier("IPP7", "1.2.250.1.999.1", "CENTRE")


def test_structure_of_the_signer_from_prt_when_the_cda_leaves_it_out():
    cda = cut(r"<representedOrganization>\s*<id[^>]*1990000002[^>]*>\s*<name>.*?</representedOrganization>")
    prt = "PRT||UC||SB^^participation|8^X^Y|||Gamma^^^^^ST&1.2.250.1.71.4.2.2&ISO^FINEG^^^300017985\xa0 "
    assert read(message(cda, more=(prt,))).legal_structure.id == Identifier("300017985", "1.2.250.1.71.4.2.2")
    assert read(message(cda)).legal_structure.id.value == "1990000001"


# --- Refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"kind": "ACK^R01^ACK"}, "message type"),
        ({"kind": "ORU^R03"}, "trigger event"),
        ({"kind": "ADT^A01^ADT_A01"}, "trigger event"),
        ({"status": "P"}, "OBX-11"),
        ({"version": "3.0"}, "version"),
        ({"charset": "KLINGON"}, "MSH-18"),
    ],
)
def test_what_this_version_does_not_serve(changes, what):
    with pytest.raises(NotAcceptable) as refused:
        read(message(**changes))
    assert refused.value.what == what


ENTITIES = b'<!DOCTYPE a [<!ENTITY a "b"><!ENTITY c "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("cda", "words"),
    [
        (CDA.replace(b"<ClinicalDocument ", ENTITIES + b"<ClinicalDocument "), "DOCTYPE"),
        (CDA.replace(b"<ClinicalDocument ", b'<!doctype x SYSTEM "file:///etc/passwd"><ClinicalDocument '), "DOCTYPE"),
        (CDA.decode().replace("UTF-8", "UTF-16").encode("utf-16"), "UTF-8"),
        (CDA[:-40], "well-formed"),
        (b"\xff\xfe garbage", "well-formed"),
        (CDA.replace(b"urn:hl7-org:v3", b"urn:other"), "root element"),
        (b"<html/>", "root element"),
        (cut(r'<id root="1.2.250.1.999.4.12"[^>]*>'), "no id"),
        (cut(SECOND_ACT, cut(r'<id root="1.2.250.1.999.2.101"/>')), "no study"),
        (CDA.replace(b"1.2.250.1.999.2.101", b"90E1C8EC-F951-4B26"), "not digits and dots"),
        (cut(r"<legalAuthenticator>.*?</legalAuthenticator>"), "legalAuthenticator"),
    ],
)
def test_a_cda_that_cannot_be_used_is_malformed_and_says_why(cda, words):
    with pytest.raises(Malformed, match=words) as refused:
        read(message(cda))
    assert "INVENTEE" not in str(refused.value) + refused.value.detail


def test_utf7_does_not_smuggle_a_doctype():
    hidden = (
        b'<?xml version="1.0" encoding="UTF-7"?>+ADw-!DOCTYPE a [+ADw-!ENTITY b "c"+AD4-]+AD4-+ADw-a+AD4-+ADw-/a+AD4-'
    )
    with pytest.raises(Malformed):
        read_cda(hidden)


WITH_PDF = base64.b64encode(bytes(20_000_000))


@pytest.mark.parametrize(
    "content",
    [
        WITH_PDF,
        b"<![CDATA[" + WITH_PDF + b"]]>",
        re.sub(rb"(.{76})", rb"\1&#13;\n", WITH_PDF),
        b"text, <table><tr><td>" + WITH_PDF + b"</td></tr></table>, text",
    ],
    ids=["one line", "CDATA", "lines", "markup"],
)
def test_a_report_with_a_pdf_of_20_mb_is_read_and_its_bytes_are_kept(content):
    cda = CDA.replace(b"JVBERi0=", content)
    report = read(message(cda))
    assert report.cda == cda
    small = read(message())
    assert (report.patient, report.exams, report.document_id) == (small.patient, small.exams, small.document_id)


def test_a_pdf_hides_neither_entities_nor_broken_markup():
    for cda in (CDA.replace(b"<ClinicalDocument ", ENTITIES + b"<ClinicalDocument "), CDA[:-40]):
        with pytest.raises(Malformed):
            read(message(cda.replace(b"JVBERi0=", WITH_PDF)))


def test_a_text_of_20_mb_that_is_no_base64_is_still_refused():
    with pytest.raises(Malformed, match="10 million"):
        read_cda(CDA.replace(b"JVBERi0=", b"a, " * 7_000_000))


def test_a_tree_that_would_not_fit_in_memory_is_refused_before_it_is_built():
    with pytest.raises(TooLarge):
        read_cda(CDA.replace(b"</title>", b"</title>" + b"<a/>" * 400_000))


@pytest.mark.parametrize(
    "value", ["", "^TEXT^XML^Base64", "^TEXT^XML^Base64^a", "^TEXT^XML^A^PGE+", "^TEXT^PDF^Base64^JVBE"]
)
def test_a_report_without_a_cda_is_malformed(value):
    with pytest.raises(Malformed):
        read(message(value=value))


def test_base64_broken_over_lines_is_read():
    data = base64.encodebytes(CDA).decode().replace("\n", "\\.br\\")
    assert read(message(value="^TEXT^XML^Base64^" + data)).cda == CDA


# --- Samples of the ANS, not redistributed ---------------------------------------------------------------------------


def sample(name: str) -> bytes:
    """A file of the folder `data-fr` beside the one that DRIMBOX_TEST_DATA names."""
    folder = Path(os.environ.get("DRIMBOX_TEST_DATA", ROOT.parent / "shared/data")).parent / "data-fr"
    if not (folder / name).is_file():
        pytest.skip(f"the sample {name} is not here: DRIMBOX_TEST_DATA names no folder that has it beside it")
    return (folder / name).read_bytes()


def test_ans_sample_mdm():
    report = read(sample("hl7v2/mdm-t02-report.er7"))
    assert report.patient.qualified and report.patient.birth_place == "63220"
    assert report.legal_structure.id.value == "300017985"
    assert report.confidentiality == ("INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX")
    assert report.secret_connection
    assert report.exams[0].study_uid == "1.3.6.1.4.1.5962.99.1.3711725607.829148806.1687338938407.3.0"


def test_ans_sample_informal():
    report = read(sample("hl7v2/oru-informal.hl7"))
    assert not report.patient.qualified
    assert report.exams[0].accession == Identifier("0901160050", "1.2.840.113619.2.62.994044785528.27")


@pytest.mark.parametrize(("name", "status"), [("t02-report", "F"), ("t10-replacement", "C"), ("t04-deletion", "D")])
def test_ans_samples_of_the_life_of_a_report(name, status):
    report = read(sample(f"hl7v2/mdm-{name}.er7"))
    assert report.status == status
    assert report.visibility_only == (name == "t10-replacement")
    assert report.number.startswith("1.2.250.1.71.4.2.2.120456789.7102400008")
    first = "1.2.250.1.71.4.2.2.120456789.71024000081"
    assert report.parent_number == ("" if status == "F" else first)


def test_ans_sample_of_a_study_change():
    notice = read(sample("hl7v2/omi-o23-study-changed.hl7"))
    assert (notice.study_uid, notice.accession) == ("1.2.250.1.213.4.5.2.1.101", "105234751")
    assert notice.ins.value == "274075176079430"
    assert not notice.cancelled


def test_ans_sample_of_an_acknowledgement():
    with pytest.raises(NotAcceptable):
        read(sample("hl7v2/ack.er7"))


@pytest.mark.parametrize(
    ("name", "studies"),
    [("level1", 3), ("level1-v1", 1), ("level3-three-acts", 3), ("prototype", 1)],
)
def test_ans_samples_of_cda(name, studies):
    assert len(read_cda(sample(f"cda/imaging-report-{name}.xml")).exams) == studies


def test_every_truncation_of_a_message_is_read_or_refused():
    data = message(more=(flag("DESTDMP", "N"),))
    for length in range(0, len(data), 97):
        with suppress(DrimboxError):
            read(data[:length])
