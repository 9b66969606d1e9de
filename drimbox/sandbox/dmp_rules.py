"""The rules a submission must obey, those the schemas cannot say: IHE ITI TF-3 §4.2 and the DMP (drim-m.md B.6)."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

from cryptography import x509
from lxml import etree
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from drimbox.sandbox.dmp_assertion import Vihf
from drimbox.sandbox.dmp_schemas import read_schema
from drimbox.sandbox.dmp_signature import SignatureRefusedError, check_signature
from drimbox.sandbox.dmp_store import APPROVED, Holding, Store
from drimbox.sandbox.dmp_wire import NAMES

_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
_TIME = re.compile(r"\d{4}(\d{2}){0,5}")
_ENTRY = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
_SET_NODE = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
_HAS_MEMBER = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
_RPLC = "urn:ihe:iti:2007:AssociationType:RPLC"
_SIGNS = "urn:ihe:iti:2007:AssociationType:signs"
_KOS = "1.2.840.10008.5.1.4.1.1.88.59"

_SET_AUTHOR = "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
_SET_CONTENT_TYPE = "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"
_SET_PATIENT = "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446"
_SET_SOURCE = "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832"
_SET_UNIQUE = "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8"
_AUTHOR = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
_CONFIDENTIALITY = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
_EVENT = "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
_PATIENT = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
_UNIQUE = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"

_PLACED = {
    "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1": "1.2.250.1.71.4.2.4",  # healthcare facility type
    "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead": "1.2.250.1.213.1.1.4.9",  # practice setting
}
# Exactly one code each, of these schemes: of a document, and of a document that signs.
_CODED_ONCE = _PLACED | {
    "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a": "1.2.250.1.213.1.1.4.1",  # class
    "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983": "1.2.250.1.213.1.1.4.12",  # type
    "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d": "1.2.840.10008.2.6.1",  # format
}
_CODED_ONCE_TO_SIGN = _PLACED | {
    "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a": "URN",
    "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983": "ASTM",
    "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d": "URN",
}
_EVENT_SCHEMES = {"1.2.250.1.213.2.5", "1.2.250.1.213.1.1.5.618", "1.2.250.1.213.1.1.5.695"}
_CONFIDENTIALITY_SCHEMES = {"2.16.840.1.113883.5.25", "1.2.250.1.213.1.1.4.13"}
_SLOTS = ("creationTime", "languageCode", "legalAuthenticator", "sourcePatientId", "hash", "size")
_XCN = re.compile(r"[^^]+\^[^^]+\^[^^]*\^{6}&1\.2\.250\.1\.71\.4\.2\.1&ISO\^D\^\^\^IDNPS")
_XON = re.compile(r"[^^]+\^{5}&1\.2\.250\.1\.71\.4\.2\.2&ISO\^IDNST\^\^\^[^^]+")


class RuleBrokenError(Exception):
    """The submission is refused: an XDS error code and its context."""

    def __init__(self, code: str, context: str) -> None:
        super().__init__(code, context)
        self.code = code
        self.context = context


@dataclass(frozen=True, slots=True)
class Accepted:
    """A submission that obeys. replaced: entryUUIDs to deprecate."""

    set_uid: str
    holdings: tuple[Holding, ...]
    replaced: tuple[str, ...]


def check_submission(
    body: Any, parts: Mapping[str, bytes], vihf: Vihf, store: Store, ca: x509.Certificate, now: datetime
) -> Accepted:
    """Check one ITI-41 body; vihf: in whose name, and about which patient. Raises RuleBrokenError.

    ca: who must have certified the signer of the set.
    """
    patient_id = vihf.patient_id
    contents = _documents(body, parts)
    _check_schema(body, contents)
    objects = body.find("l:SubmitObjectsRequest/r:RegistryObjectList", NAMES)
    ids = objects.xpath("*/@id", namespaces=NAMES)
    require(len(ids) == len(set(ids)), "an id is used twice")
    package = one(objects, "r:RegistryPackage")
    set_uid = check_set(package, vihf)
    extrinsics = objects.findall("r:ExtrinsicObject", NAMES)
    told = {institution for owner in (package, *extrinsics) for institution in _institutions(owner)}
    require(len(told) == 1, "authorInstitution of a document is that of its set")
    require({e.get("id") for e in extrinsics} == set(contents), "one document an entry", "XDSMissingDocument")
    holdings = tuple(_check_entry(entry, contents[entry.get("id")], patient_id) for entry in extrinsics)
    require(set_uid not in {holding.unique_id for holding in holdings}, "uniqueId of the set and of a document")
    replaced = _check_associations(objects, package.get("id"), set(contents), patient_id, store)
    signer = _check_signature(objects, set_uid, holdings, ca, now)
    require(signer.subject.rfc4514_string() == vihf.issuer, "the set is signed by who signs the VIHF")
    _check_known(set_uid, holdings, store)
    return Accepted(set_uid, holdings, replaced)


def _documents(body: Any, parts: Mapping[str, bytes]) -> dict[str, bytes]:
    """The bytes received for each Document, by the id of its entry."""
    contents: dict[str, bytes] = {}
    for document in body.findall("b:Document", NAMES):
        require(document.get("id") not in contents, "two documents for an entry")
        include = one(document, "x:Include")
        contents[document.get("id")] = parts[include.get("href").removeprefix("cid:")]
    return contents


def _check_schema(body: Any, contents: Mapping[str, bytes]) -> None:
    """The schema sees the infoset of XOP: base64 where the Include stands."""
    copy: Any = etree.fromstring(etree.tostring(body))
    for document in copy.findall("b:Document", NAMES):
        document.remove(document[0])
        document.text = base64.b64encode(contents[document.get("id")]).decode("ascii")
    schema = read_schema("xds/XDS.b_DocumentRepository.xsd")
    require(schema.validate(copy), f"schema: {schema.error_log}")


def check_set(package: Any, vihf: Vihf) -> str:
    """Check a submission set; returns its uniqueId. Raises RuleBrokenError.

    Its author speaks for the structure of the VIHF (DMP guide, EX_2.1-1140), or for a site of that entity (EJ/EG).
    """
    node = one(package.getparent(), f".//r:Classification[@classificationNode='{_SET_NODE}']")
    require(node.get("classifiedObject") == package.get("id"), "the package is not a submission set")
    require(bool(_TIME.fullmatch(slot_values(package, "submissionTime")[0])), "submissionTime")
    _check_author(one(package, f"r:Classification[@classificationScheme='{_SET_AUTHOR}']"))
    require(vihf.institutions.issuperset(_institutions(package)), "authorInstitution is the structure of the VIHF")
    _coded(package, _SET_CONTENT_TYPE, {"1.2.250.1.213.2.2"}, least=1, most=1)
    _require_patient(_identifier(package, _SET_PATIENT), vihf.patient_id)
    source_id, unique_id = _identifier(package, _SET_SOURCE), _identifier(package, _SET_UNIQUE)
    require(bool(_OID.fullmatch(source_id)), "sourceId")
    require(bool(_OID.fullmatch(unique_id)) and len(unique_id) <= 64, "set uniqueId")
    return unique_id


def _check_entry(entry: Any, content: bytes, patient_id: str) -> Holding:
    require(entry.get("objectType") == _ENTRY, "objectType")
    require(not entry.get("status"), "status is the registry's to give")
    for name in _SLOTS:
        slot_values(entry, name)
    for name in ("creationTime", "serviceStartTime", "serviceStopTime"):
        for value in entry.xpath(f"r:Slot[@name='{name}']/r:ValueList/r:Value/text()", namespaces=NAMES):
            require(bool(_TIME.fullmatch(value)), f"{name} is UTC and has no offset")
    require(bool(_XCN.fullmatch(slot_values(entry, "legalAuthenticator")[0])), "legalAuthenticator")
    signs = entry.get("mimeType") == "text/xml"
    require(slot_values(entry, "languageCode") == ["art" if signs else "fr-FR"], "languageCode")
    require(signs or bool(slot_values(entry, "sourcePatientInfo")), "sourcePatientInfo")
    _check_author(one(entry, f"r:Classification[@classificationScheme='{_AUTHOR}']"))
    for scheme, coding in (_CODED_ONCE_TO_SIGN if signs else _CODED_ONCE).items():
        _coded(entry, scheme, {coding}, least=1, most=1)
    check_confidentiality(entry)
    _coded(entry, _EVENT, {"1.2.840.10065.1.12"} if signs else _EVENT_SCHEMES, least=int(signs), most=100)
    _require_patient(_identifier(entry, _PATIENT), patient_id)
    unique_id = _identifier(entry, _UNIQUE)
    require(bool(_OID.fullmatch(unique_id)) and len(unique_id) <= 64, "uniqueId")
    digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    told = slot_values(entry, "hash")[0].lower(), slot_values(entry, "size")[0]
    require(told == (digest, str(len(content))), "hash or size is not that of the bytes received")
    if entry.xpath(f"r:Classification[@nodeRepresentation='{_KOS}']", namespaces=NAMES):
        require(entry.get("mimeType") == "application/dicom", "mimeType of a KOS")
        _check_manifest(entry, content, unique_id, patient_id)
    return Holding(
        entry_uuid=entry.get("id"),
        unique_id=unique_id,
        patient_id=patient_id,
        hash=digest,
        status=APPROVED,
        mime_type=entry.get("mimeType"),
        metadata=etree.tostring(entry, encoding="unicode", with_tail=False),
        content=content,
    )


def check_confidentiality(entry: Any) -> None:
    """`N` and what is beside it. Raises RuleBrokenError."""
    require("N" in _coded(entry, _CONFIDENTIALITY, _CONFIDENTIALITY_SCHEMES, least=1, most=4), "confidentiality N")


def _check_manifest(entry: Any, content: bytes, unique_id: str, patient_id: str) -> None:
    try:
        kos = dcmread(BytesIO(content))
    except (InvalidDicomError, EOFError, ValueError) as error:
        raise RuleBrokenError("XDSRepositoryMetadataError", "the document is not DICOM Part 10") from error
    require(kos.get("SOPClassUID") == _KOS == kos.file_meta.get("MediaStorageSOPClassUID"), "not a KOS")
    require(kos.get("SOPInstanceUID") == unique_id, "uniqueId is not the SOP Instance UID")
    _require_patient(f"{kos.get('PatientID')}^", patient_id[: patient_id.index("^") + 1])
    references = slot_values(entry, "urn:ihe:iti:xds:2013:referenceIdList")
    study = [r for r in references if r.endswith("^urn:ihe:iti:xds:2016:studyInstanceUID")]
    require([r.split("^")[0] for r in study] == [kos.get("StudyInstanceUID")], "studyInstanceUID in referenceIdList")


def _check_associations(objects: Any, set_id: str, entries: set[str], patient_id: str, store: Store) -> tuple[str, ...]:
    members: list[str] = []
    replaced: list[str] = []
    for association in objects.findall("r:Association", NAMES):
        kind, source, target = (association.get(f) for f in ("associationType", "sourceObject", "targetObject"))
        if kind == _HAS_MEMBER:
            require(source == set_id and target in entries, "HasMember joins the set and an entry")
            require(slot_values(association, "SubmissionSetStatus") == ["Original"], "SubmissionSetStatus")
            members.append(target)
        elif kind == _RPLC:
            require(source in entries, "RPLC starts from a new entry")
            old = store.by_entry(target)
            if old is None:
                raise RuleBrokenError("UnresolvedReferenceException", "the replaced entry is not known")
            if not old.is_approved:
                raise RuleBrokenError("XDSRegistryDeprecatedDocumentError", "the replaced entry is not approved")
            _require_patient(old.patient_id, patient_id)
            replaced.append(target)
        elif kind == _SIGNS:
            require(source in entries and target == set_id, "signs joins an entry and the set")
        else:
            raise RuleBrokenError("XDSRegistryMetadataError", "association type")
    require(sorted(members) == sorted(entries), "each entry is a member once")
    return tuple(replaced)


def _check_signature(
    objects: Any, set_uid: str, holdings: tuple[Holding, ...], ca: x509.Certificate, now: datetime
) -> x509.Certificate:
    """Returns the certificate of the signer."""
    signing = [holding for holding in holdings if holding.mime_type == "text/xml"]
    told = objects.xpath(f"r:Association[@associationType='{_SIGNS}']/@sourceObject", namespaces=NAMES)
    require(len(signing) == 1, "the submission set is signed, once")
    require([str(source) for source in told] == [holding.entry_uuid for holding in signing], "what signs says so")
    [signature] = signing
    signed = {holding.unique_id: holding.content for holding in holdings if holding is not signature}
    try:
        return check_signature(signature.content, signature.unique_id, set_uid, signed, ca, now)
    except SignatureRefusedError as error:
        raise RuleBrokenError("InvalidDocumentContent", f"signature: {error}") from error


def _check_known(set_uid: str, holdings: tuple[Holding, ...], store: Store) -> None:
    for holding in holdings:
        known = store.by_unique_id(holding.unique_id)
        if known is not None and known.hash != holding.hash:
            raise RuleBrokenError("XDSNonIdenticalHash", holding.unique_id)
        if known is not None:
            raise RuleBrokenError("XDSDuplicateUniqueIdInRegistry", holding.unique_id)
        require(store.by_entry(holding.entry_uuid) is None, "entryUUID known")
    if not store.add_set(set_uid):
        raise RuleBrokenError("XDSDuplicateUniqueIdInRegistry", set_uid)


def _check_author(author: Any) -> None:
    require(bool(_XCN.fullmatch(slot_values(author, "authorPerson")[0])), "authorPerson")
    require(bool(_XON.fullmatch(slot_values(author, "authorInstitution")[0])), "authorInstitution")


def _institutions(owner: Any) -> list[str]:
    """The numbers in authorInstitution (XON-10)."""
    path = "r:Classification/r:Slot[@name='authorInstitution']/r:ValueList/r:Value/text()"
    return [str(value).rpartition("^")[2] for value in owner.xpath(path, namespaces=NAMES)]


def _coded(owner: Any, scheme: str, codings: set[str], *, least: int, most: int) -> list[str]:
    """The values of a classification, each with a coding scheme of the list and a name."""
    values: list[str] = []
    for node in owner.findall(f"r:Classification[@classificationScheme='{scheme}']", NAMES):
        require(node.get("classifiedObject") == owner.get("id"), "classifiedObject")
        require(slot_values(node, "codingScheme")[0] in codings, f"coding scheme of {node.get('nodeRepresentation')}")
        require(bool(one(node, "r:Name/r:LocalizedString").get("value")), "name of a code")
        values.append(node.get("nodeRepresentation"))
    require(least <= len(set(values)) == len(values) <= most and all(values), f"number of codes of {scheme}")
    return values


def slot_values(owner: Any, name: str) -> list[str]:
    """The values of a slot that is there once. Raises RuleBrokenError."""
    values = owner.xpath(f"r:Slot[@name='{name}']/r:ValueList/r:Value/text()", namespaces=NAMES)
    require(bool(values) and len(owner.xpath(f"r:Slot[@name='{name}']", namespaces=NAMES)) == 1, f"slot {name}")
    return [str(value) for value in values]


def _identifier(owner: Any, scheme: str) -> str:
    found = one(owner, f"r:ExternalIdentifier[@identificationScheme='{scheme}']")
    require(found.get("registryObject") == owner.get("id"), "registryObject")
    return str(found.get("value"))


def one(node: Any, path: str) -> Any:
    """The one node at `path`. Raises RuleBrokenError."""
    found = node.xpath(path, namespaces=NAMES)
    require(len(found) == 1, path)
    return found[0]


def _require_patient(told: str, expected: str) -> None:
    if told != expected:
        raise RuleBrokenError("XDSPatientIdDoesNotMatch", "not the same patient everywhere")


def require(condition: bool, context: str, code: str = "XDSRepositoryMetadataError") -> None:
    """Raises RuleBrokenError unless the rule is obeyed."""
    if not condition:
        raise RuleBrokenError(code, context)
