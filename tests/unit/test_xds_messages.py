"""Every message we emit is valid against the schemas, and says what it must."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from lxml import etree

import drimbox.sandbox
from drimbox.errors import Malformed
from drimbox.model import Code, Identifier
from drimbox.xds.ebxml import provide_and_register, submit_objects
from drimbox.xds.entry import Author, DocumentEntry, SubmissionSet
from drimbox.xds.questions import find_documents, get_documents, retrieve_document_set
from drimbox.xds.soap import build_envelope
from drimbox.xds.xml import NAMESPACES

SCHEMAS = Path(drimbox.sandbox.__file__).parent / "schemas" / "xds"
AUTHOR = Author("1^A^B^^^^^^&1.2&ISO^D^^^IDNPS", "C^^^^^&1.2&ISO^IDNST^^^3", "G15_10^Médecin^1.2")
CODE = Code("c", "1.2", "meaning")
ENTRY = DocumentEntry(
    entry_uuid="urn:uuid:00000000-0000-4000-8000-000000000001",
    unique_id="1.2.3",
    mime_type="application/dicom",
    hash="a9993e364706816aba3e25717850c26c9cd0d89d",
    size_bytes=3,
    created="20260101000000",
    submitted="20260101000001",
    language="fr-FR",
    patient_id="1^^^&1.2&ISO^NH",
    source_patient_id="2^^^&1.2&ISO^PI",
    source_patient_info=("PID-5|É<&>\"'^A^^^^^L", "PID-8|F"),
    legal_authenticator=AUTHOR.person,
    author=AUTHOR,
    title="d'Imagerie",
    comments="KOS",
    class_code=CODE,
    type_code=CODE,
    format_code=CODE,
    facility_type=CODE,
    practice_setting=CODE,
    confidentiality=(CODE, replace(CODE, value="d")),
    events=(replace(CODE, meaning=""),),
    reference_ids=("1.2.3^^^^urn:ihe:iti:xds:2016:studyInstanceUID",),
    service_start="20260101",
)
SET = SubmissionSet(
    "urn:uuid:00000000-0000-4000-8000-000000000002", "1.2.4", "1.2.5", "1^^^&1.2&ISO^NH", "2026", AUTHOR, CODE, "t"
)


@cache
def schema(name: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(SCHEMAS / name))


def require_valid(name: str, root: etree._Element) -> None:
    # Reparsed: what counts is what is written.
    schema(name).assertValid(etree.fromstring(etree.tostring(root)))


@pytest.mark.parametrize("replaces", ["", "urn:uuid:00000000-0000-4000-8000-000000000003"])
def test_the_submission_is_valid(replaces: str) -> None:
    require_valid("lcm.xsd", etree.fromstring(submit_objects(ENTRY, SET, replaces)))


def test_the_body_of_iti_41_is_valid_and_names_its_parts() -> None:
    body = provide_and_register(etree.fromstring(submit_objects(ENTRY, SET)), [(ENTRY.entry_uuid, "kos@drimbox")])
    include = body.find("xdsb:Document/xop:Include", NAMESPACES)
    assert include is not None
    assert include.get("href") == "cid:kos@drimbox"
    document = include.getparent()
    assert document is not None
    document.remove(include)
    document.text = "AAAA"  # what XOP stands for
    require_valid("XDS.b_DocumentRepository.xsd", body)


@pytest.mark.parametrize(
    "query",
    [
        find_documents(Identifier("1", "1.2")),
        find_documents(Identifier("1", "1.2"), formats=(), types=(CODE, CODE)),
        get_documents("1.2.3"),
    ],
)
def test_the_queries_are_valid(query: etree._Element) -> None:
    require_valid("query.xsd", query)


def test_the_retrieval_is_valid() -> None:
    require_valid("XDS.b_DocumentRepository.xsd", retrieve_document_set("1.2", "1.2.3"))


def parameters(query: etree._Element) -> dict[str, str | None]:
    return {
        str(slot.get("name")): slot.findtext("rim:ValueList/rim:Value", None, NAMESPACES)
        for slot in query.iterfind("rim:AdhocQuery/rim:Slot", NAMESPACES)
    }


def test_find_documents_asks_for_the_approved_manifests_of_one_patient() -> None:
    assert parameters(find_documents(Identifier("269054958815780", "1.2.250.1.213.1.4.10"))) == {
        "$XDSDocumentEntryPatientId": "'269054958815780^^^&1.2.250.1.213.1.4.10&ISO^NH'",
        "$XDSDocumentEntryStatus": "('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')",
        "$XDSDocumentEntryFormatCode": "('1.2.840.10008.5.1.4.1.1.88.59^^1.2.840.10008.2.6.1')",
    }


def test_a_quote_in_a_parameter_is_doubled() -> None:
    assert parameters(get_documents("1'2")) == {"$XDSDocumentEntryUniqueId": "('1''2')"}


def test_a_replacement_points_from_the_new_entry_to_the_old() -> None:
    root = etree.fromstring(submit_objects(ENTRY, SET, "urn:uuid:old"))
    told = [
        (a.get("associationType"), a.get("sourceObject"), a.get("targetObject"))
        for a in root.iterfind(".//rim:Association", NAMESPACES)
    ]
    assert told == [
        ("urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember", SET.entry_uuid, ENTRY.entry_uuid),
        ("urn:ihe:iti:2007:AssociationType:RPLC", ENTRY.entry_uuid, "urn:uuid:old"),
    ]


def test_accents_and_markup_survive() -> None:
    root = etree.fromstring(submit_objects(ENTRY, SET))
    values = [v.text for v in root.iterfind(".//rim:Slot[@name='sourcePatientInfo']//rim:Value", NAMESPACES)]
    assert values == list(ENTRY.source_patient_info)


@pytest.mark.parametrize("entry", [replace(ENTRY, title="a\x00b"), replace(ENTRY, source_patient_info=("a\x0bb",))])
def test_a_control_character_is_malformed(entry: DocumentEntry) -> None:
    with pytest.raises(Malformed):
        submit_objects(entry, SET)


def test_the_envelope_carries_the_addressing_headers() -> None:
    body = etree.Element("body")
    written = build_envelope(body, action="urn:a", to="https://dmp/repository", message_id="urn:uuid:1")
    envelope = etree.fromstring(written)
    header = envelope.find("soap:Header", NAMESPACES)
    assert header is not None
    assert header.findtext("wsa:Action", None, NAMESPACES) == "urn:a"
    assert header.findtext("wsa:MessageID", None, NAMESPACES) == "urn:uuid:1"
    assert header.findtext("wsa:To", None, NAMESPACES) == "https://dmp/repository"
    assert (
        header.findtext("wsa:ReplyTo/wsa:Address", None, NAMESPACES) == "http://www.w3.org/2005/08/addressing/anonymous"
    )
    action = header.find("wsa:Action", NAMESPACES)
    assert action is not None
    assert action.get("{http://www.w3.org/2003/05/soap-envelope}mustUnderstand") == "true"
    assert header.find("wsse:Security", NAMESPACES) is None
