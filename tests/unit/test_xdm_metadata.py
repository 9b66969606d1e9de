"""METADATA.XML of an XDM medium: what we write is valid, what others write is read."""

import re
from functools import cache
from pathlib import Path

import pytest
from lxml import etree

import drimbox.sandbox
from drimbox.errors import Malformed, TooLarge
from drimbox.model import Code, Identifier, Professional, Structure
from drimbox.xds import codes
from drimbox.xds.ebxml import submit_objects
from drimbox.xds.entry import Author, DocumentEntry, SubmissionSet, read_xcn, read_xon
from drimbox.xds.xdm import build_metadata, read_metadata

SCHEMAS = Path(drimbox.sandbox.__file__).parent / "schemas" / "xds"
AUTHOR = Author(
    "801^DURAND^CLAIRE^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS",
    "Centre \\T\\ Co^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^101",
    "G15_10/SM44^Médecin^1.2.250.1.213.1.1.4.5",
)
SECTOR, PRACTICE = Code("SA08", codes.SECTORS, "Cabinet"), Code("AMBULATOIRE", "1.2.250.1.213.1.1.4.9", "Ambulatoire")
KOS = DocumentEntry(
    entry_uuid="urn:uuid:00000000-0000-4000-8000-000000000001",
    unique_id="1.2.3",
    mime_type="application/dicom",
    hash="a9993e364706816aba3e25717850c26c9cd0d89d",
    size_bytes=3,
    created="20260101000000",
    submitted="20260101000001",
    language="fr-FR",
    patient_id="279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH",
    source_patient_id="IPP101^^^&1.2.250.1.213.4.5.2.4&ISO^PI",
    source_patient_info=("PID-5|PAT-TROIS^DOMINIQUE^^^^^L",),
    legal_authenticator=AUTHOR.person,
    author=AUTHOR,
    title="KOS",
    comments="KOS",
    class_code=codes.CLASS_IMAGING,
    type_code=codes.TYPE_KOS,
    format_code=codes.FORMAT_KOS,
    facility_type=SECTOR,
    practice_setting=PRACTICE,
    confidentiality=(codes.NORMAL, codes.CONFIDENTIALITY["MASQUE_PS"]),
    events=(Code("CT", codes.MODALITY_SCHEME, "CT"),),
    reference_ids=("1.2.9^^^^urn:ihe:iti:xds:2016:studyInstanceUID",),
    service_stop="20260101003000",
)
SIGNATURE = DocumentEntry(
    **{
        **{name: getattr(KOS, name) for name in KOS.__dataclass_fields__},
        "entry_uuid": "urn:uuid:00000000-0000-4000-8000-000000000003",
        "unique_id": "1.2.8",
        "mime_type": "text/xml",
        "format_code": codes.FORMAT_SIGNATURE,
    }
)
SET = SubmissionSet(
    "urn:uuid:00000000-0000-4000-8000-000000000002",
    "1.2.4",
    "1.2.5",
    KOS.patient_id,
    "20260101000001",
    AUTHOR,
    codes.CONTENT_TYPE_EXTERNAL,
    "t",
)
PLACES = {"1.2.3": "KOS_1_1.DCM", "1.2.8": "SIGN_1.XML"}
UUID = "urn:uuid:00000000-0000-4000-8000-00000000000a"


@cache
def schema():
    return etree.XMLSchema(etree.parse(SCHEMAS / "lcm.xsd"))


def written(replaces="", **options):
    submitted = submit_objects(KOS, SET, replaces, SIGNATURE)
    return build_metadata(submitted, PLACES, **{"entry_uuid": UUID, **options})


@pytest.mark.parametrize("replaces", ["", "urn:uuid:00000000-0000-4000-8000-00000000000b"])
@pytest.mark.parametrize("withdrawn", [False, True])
def test_what_we_write_is_valid_and_read_back(replaces, withdrawn):
    data = written(replaces, withdrawn=withdrawn)
    schema().assertValid(etree.fromstring(data))
    read = read_metadata(data)
    kos, signature = read.documents
    assert (read.set_uid, read.submitted) == ("1.2.4", "20260101000001")
    assert (kos.uri, kos.is_manifest, kos.is_signature) == ("KOS_1_1.DCM", True, False)
    assert (signature.uri, signature.is_manifest, signature.is_signature) == ("SIGN_1.XML", False, True)
    assert (kos.listed.entry_uuid, kos.listed.status) == (UUID, codes.DELETED if withdrawn else "")
    assert (kos.listed.hash, kos.listed.size_bytes) == (KOS.hash, 3)
    doctor = Identifier("801", "1.2.250.1.71.4.2.1")
    profession = Code("G15_10/SM44", "1.2.250.1.213.1.1.4.5", "Médecin")
    assert kos.author == kos.legal_authenticator == Professional(doctor, "DURAND", "CLAIRE", profession)
    place = Identifier("101", "1.2.250.1.71.4.2.2")
    assert kos.author_structure == Structure(place, "Centre & Co", SECTOR, PRACTICE)
    assert (kos.source_patient_id, kos.service_stop) == (KOS.source_patient_id, "20260101003000")
    schema().assertValid(etree.fromstring(read.metadata))


def test_a_document_that_is_not_on_the_medium_is_not_announced():
    data = build_metadata(submit_objects(KOS, SET, "", SIGNATURE), {"1.2.3": "KOS_1_1.DCM"}, entry_uuid="")
    schema().assertValid(etree.fromstring(data))
    [kos] = read_metadata(data).documents
    assert kos.listed.unique_id == "1.2.3"
    assert b"signs" not in data
    assert SIGNATURE.entry_uuid.encode() not in data


# --- The shapes in service ------------------------------------------------------------------------------------------


def cut_out(data):
    """As one official sample: cut out of its envelope, the prefix of the root declared nowhere, blank before it."""
    text = re.sub(r"<\?xml[^>]*\?>", "", data.decode())
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    return b"\n\t\t" + text.replace("rim:", "").replace("lcm:", "ns3:").encode()


def in_envelope(data):
    """As the public prototype writes it: with all of the SOAP message around it."""
    text = re.sub(r"<\?xml[^>]*\?>", "", data.decode())
    name = "x:ProvideAndRegisterDocumentSetRequest"
    body = f'<{name} xmlns:x="{codes.XDSB}">{text}</{name}>'
    return f'<s:Envelope xmlns:s="{codes.SOAP}"><s:Header/><s:Body>{body}</s:Body></s:Envelope>'.encode()


def out_of_order(data):
    """Slots after classifications, as the official samples have them."""
    root = etree.fromstring(data)
    for extrinsic in root.iter(f"{{{codes.RIM}}}ExtrinsicObject"):
        extrinsic[:] = sorted(extrinsic, key=lambda child: etree.QName(child).localname)
    return etree.tostring(root)


def in_symbols(data):
    """Ids that are no UUIDs."""
    return data.replace(KOS.entry_uuid.encode(), b"DocumentKOS").replace(SIGNATURE.entry_uuid.encode(), b"Signature01")


@pytest.mark.parametrize("shape", [cut_out, in_envelope, out_of_order, in_symbols])
def test_the_shapes_in_service_are_read_alike_and_made_valid(shape):
    data = written()
    read = read_metadata(shape(data))
    assert read.documents == read_metadata(data).documents or shape is in_symbols
    assert [one.uri for one in read.documents] == ["KOS_1_1.DCM", "SIGN_1.XML"]
    assert read.documents[0].listed.entry_uuid == UUID
    schema().assertValid(etree.fromstring(read.metadata))


def test_a_symbol_is_no_entry_uuid():
    read = read_metadata(in_symbols(build_metadata(submit_objects(KOS, SET), PLACES, entry_uuid="")))
    assert read.documents[0].listed.entry_uuid == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<a/>",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><SubmitObjectsRequest/>",
        b"<SubmitObjectsRequest/>",
        b"<SubmitObjectsRequest><RegistryObjectList/></SubmitObjectsRequest>",
        b"<a>" * 200 + b"</a>" * 200,
    ],
)
def test_what_is_no_submission_is_refused(data):
    with pytest.raises(Malformed):
        read_metadata(data)


def test_metadata_have_a_limit():
    with pytest.raises(TooLarge):
        read_metadata(b"<a>" + b" " * (5 << 20) + b"</a>")


@pytest.mark.parametrize("text", ["", "^^^", "801", "801^DURAND"])
def test_a_professional_without_number_or_name_is_none(text):
    assert read_xcn(text) is None


@pytest.mark.parametrize("text", ["", "Centre", "Centre^^^^^&1.2&ISO^IDNST^^^"])
def test_a_structure_without_number_is_none(text):
    assert read_xon(text) is None
