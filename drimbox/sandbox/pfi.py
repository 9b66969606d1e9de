"""The intermediation platform (PFI): it brings the report itself to the DMP, beside the manifest of the DRIMbox.

Played short: the document lies in the registry as a platform would have left it, its own submission is not.
"""

import hashlib
from typing import Any, Final
from uuid import uuid4

from lxml import etree

from drimbox.sandbox.dmp import Dmp
from drimbox.sandbox.dmp_store import APPROVED, Holding

_RIM: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
_NAMES: Final = {"c": "urn:hl7-org:v3", "p": "urn:dicom-org:ps3-20"}
_REFERENCES: Final = "urn:ihe:iti:xds:2013:referenceIdList"
_FORMAT: Final = ("a09d5840-386c-46f2-b5ad-9c3699a4309d", "urn:ihe:iti:xds-sd:pdf:2008", "1.3.6.1.4.1.19376.1.2.3")
_IDENTIFIERS: Final = {
    "patientId": "58a6f841-87b3-4a3e-92fd-a8ffeff98427",
    "uniqueId": "2e82c1f6-a085-4c72-9da3-8640a32e42ab",
}


def file_report(dmp: Dmp, cda: bytes, unique_id: str, created: str, patient_id: str = "") -> None:
    """Put a report into the DMP of its patient. unique_id: an OID. created: DTM. patient_id: CX, of another dossier."""
    document = etree.fromstring(cda)
    patient_id = patient_id or next(
        f"{node.get('extension')}^^^&{node.get('root')}&ISO^NH"
        for node in _all(document, "//c:recordTarget/c:patientRole/c:id")
        if str(node.get("root")).startswith("1.2.250.1.213.1.4.")
    )
    digest = hashlib.sha1(cda, usedforsecurity=False).hexdigest()
    entry_uuid = uuid4().urn
    entry = etree.Element(f"{{{_RIM}}}ExtrinsicObject", id=entry_uuid, mimeType="text/xml", nsmap={"rim": _RIM})
    entry.set("objectType", "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1")
    slots = {"creationTime": [created], "hash": [digest], "size": [str(len(cda))], _REFERENCES: _references(document)}
    for name, values in slots.items():
        told = etree.SubElement(etree.SubElement(entry, f"{{{_RIM}}}Slot", name=name), f"{{{_RIM}}}ValueList")
        for value in values:
            etree.SubElement(told, f"{{{_RIM}}}Value").text = value
    _name(entry, "CR d'imagerie médicale")
    scheme, value, coding = _FORMAT
    coded = etree.SubElement(entry, f"{{{_RIM}}}Classification", id="format", nodeRepresentation=value)
    coded.set("classificationScheme", f"urn:uuid:{scheme}")
    coded.set("classifiedObject", entry_uuid)
    slot = etree.SubElement(coded, f"{{{_RIM}}}Slot", name="codingScheme")
    etree.SubElement(etree.SubElement(slot, f"{{{_RIM}}}ValueList"), f"{{{_RIM}}}Value").text = coding
    _name(coded, value)
    for name, identified in (("patientId", patient_id), ("uniqueId", unique_id)):
        node = etree.SubElement(entry, f"{{{_RIM}}}ExternalIdentifier", id=name, value=identified)
        node.set("identificationScheme", f"urn:uuid:{_IDENTIFIERS[name]}")
        node.set("registryObject", entry_uuid)
        _name(node, f"XDSDocumentEntry.{name}")
    metadata = etree.tostring(entry, encoding="unicode")
    dmp.take(Holding(entry_uuid, unique_id, patient_id, digest, APPROVED, "text/xml", metadata, cda))


def _references(document: etree._Element) -> list[str]:
    """By what a manifest and its report find each other: drim-m.md C.2."""
    orders = _all(document, "//c:inFulfillmentOf/c:order/p:accessionNumber")
    studies = _all(document, "//c:documentationOf/c:serviceEvent/c:id")
    accessions = [
        f"{node.get('extension')}^^^&{node.get('root')}&ISO^urn:ihe:iti:xds:2013:accession" for node in orders
    ]
    return accessions + [f"{node.get('root')}^^^^urn:ihe:iti:xds:2016:studyInstanceUID" for node in studies]


def _all(document: etree._Element, path: str) -> list[Any]:
    found: Any = document.xpath(path, namespaces=_NAMES)
    return list(found)


def _name(parent: etree._Element, text: str) -> None:
    etree.SubElement(etree.SubElement(parent, f"{{{_RIM}}}Name"), f"{{{_RIM}}}LocalizedString", value=text)
