"""METADATA.XML of an XDM medium: a submission set with the place of each of its documents (ITI TF-2 §3.32.4.1.2).

We write what the schemas and IHE ask for. We read what is in service: with a SOAP envelope around it, without its
namespaces, in another order (the shapes of the official samples and of the public prototype, drim-m.md B.10).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree

from drimbox.errors import Malformed
from drimbox.model import Code, Professional, Structure
from drimbox.xds import codes
from drimbox.xds.answers import Listed, read_query_response
from drimbox.xds.entry import read_xcn, read_xon
from drimbox.xds.rim import AUTHOR, read_code, read_identifier, read_name, read_slot
from drimbox.xds.xml import NAMESPACES, added, read_xml, written

MAX_METADATA: Final = 4 * 2**20

# What the official samples call the entryUUID of the registry, and the scheme they give it.
_ENTRY_UUID: Final = "XDSDocumentEntry.EntryUUID"
_ENTRY_UUID_SCHEME: Final = "1.2.3"

# The order of the children in the schema (rim.xsd, ExtrinsicObjectType).
_ORDER: Final = ("Slot", "Name", "Description", "VersionInfo", "Classification", "ExternalIdentifier")
_UNDECLARED: Final = re.compile(rb"<([A-Za-z_][\w.-]*):SubmitObjectsRequest\b", re.ASCII)


@dataclass(frozen=True, slots=True)
class XdmDocument:
    """A document of a set. uri: its place, as written; listed.status is empty when the medium does not tell it.

    The people and places that answer for it: None when they are not told. source_patient_id: CX, or empty.
    """

    uri: str
    listed: Listed
    author: Professional | None
    author_structure: Structure | None
    legal_authenticator: Professional | None
    facility: Code | None
    practice: Code | None
    service_stop: str
    source_patient_id: str

    @property
    def is_manifest(self) -> bool:
        """Is it a KOS?"""
        coded = self.listed.format_code
        return self.listed.mime_type == "application/dicom" or (
            coded is not None and coded.value == codes.FORMAT_KOS.value
        )

    @property
    def is_signature(self) -> bool:
        """Does it sign the set?"""
        coded = self.listed.format_code
        return coded is not None and coded.value == codes.FORMAT_SIGNATURE.value


@dataclass(frozen=True, slots=True)
class XdmSet:
    """A submission set. submitted: DTM. metadata: lcm:SubmitObjectsRequest in its own namespaces, UTF-8."""

    set_uid: str
    submitted: str
    documents: tuple[XdmDocument, ...]
    metadata: bytes


def build_metadata(submitted: bytes, places: Mapping[str, str], *, entry_uuid: str, withdrawn: bool = False) -> bytes:
    """METADATA.XML of a submission. submitted: lcm:SubmitObjectsRequest as it was sent.

    places: where each document lies, by its uniqueId, relative to the folder of METADATA.XML; entries of other
    documents are left out. entry_uuid: what the registry calls the manifest. withdrawn: it does not show it any more.
    Raises Malformed.
    """
    root = read_xml(submitted, "metadata", MAX_METADATA)
    for extrinsic in root.findall("rim:RegistryObjectList/rim:ExtrinsicObject", NAMESPACES):
        place = places.get(read_identifier(extrinsic, codes.ENTRY_UNIQUE_ID))
        if place is None:
            _leave_out(root, extrinsic)
            continue
        for former in extrinsic.findall("rim:Slot[@name='URI']", NAMESPACES):
            extrinsic.remove(former)
        slot = etree.Element(f"{{{codes.RIM}}}Slot", {"name": "URI"})
        added(added(slot, codes.RIM, "ValueList"), codes.RIM, "Value", text=place)
        extrinsic.insert(len(extrinsic.findall("rim:Slot", NAMESPACES)), slot)
        if extrinsic.get("mimeType") == "application/dicom":
            if withdrawn:
                extrinsic.set("status", codes.DELETED)
            if entry_uuid:
                _tell_uuid(extrinsic, entry_uuid)
    return written(root)


def _leave_out(root: etree._Element, extrinsic: etree._Element) -> None:
    """A document that is not on the medium, and what ties it to others."""
    name = extrinsic.get("id", "")
    for parent in root.findall("rim:RegistryObjectList", NAMESPACES):
        for association in parent.findall("rim:Association", NAMESPACES):
            if name in (association.get("sourceObject"), association.get("targetObject")):
                parent.remove(association)
        parent.remove(extrinsic)


def _tell_uuid(extrinsic: etree._Element, entry_uuid: str) -> None:
    owner = extrinsic.get("id", "")
    told = {
        "id": "kos-entry-uuid",
        "identificationScheme": _ENTRY_UUID_SCHEME,
        "registryObject": owner,
        "value": entry_uuid.removeprefix("urn:uuid:"),
    }
    identifier = added(extrinsic, codes.RIM, "ExternalIdentifier", told)
    language = {f"{{{codes.XML}}}lang": "fr-FR", "charset": "UTF-8", "value": _ENTRY_UUID}
    added(added(identifier, codes.RIM, "Name"), codes.RIM, "LocalizedString", language)


# --- Reading --------------------------------------------------------------------------------------------------------


def read_metadata(data: bytes) -> XdmSet:
    """Read METADATA.XML. Raises Malformed, TooLarge."""
    root = _normalised(read_xml(_declared(data.lstrip()), "METADATA.XML", MAX_METADATA))
    objects = root[0]
    package = objects.find("rim:RegistryPackage", NAMESPACES)
    if package is None:
        raise Malformed("METADATA.XML", "it has no submission set")
    answer = etree.Element(f"{{{codes.QUERY}}}AdhocQueryResponse")
    answer.append(objects)
    extrinsics = objects.findall("rim:ExtrinsicObject", NAMESPACES)
    listed = read_query_response(answer)
    documents = tuple(_document(extrinsic, one) for extrinsic, one in zip(extrinsics, listed, strict=True))
    root.append(objects)
    set_uid = read_identifier(package, codes.SET_UNIQUE_ID)
    return XdmSet(set_uid, read_slot(package, "submissionTime"), documents, written(root))


def _declared(data: bytes) -> bytes:
    """One official sample was cut out of its envelope, and lost what its prefix stands for."""
    found = _UNDECLARED.search(data[:4096])
    if found is None or b"xmlns:" + found[1] + b"=" in data[:65536]:
        return data
    return data[: found.end()] + b' xmlns:%s="%s"' % (found[1], codes.LCM.encode()) + data[found.end() :]


def _normalised(root: etree._Element) -> etree._Element:
    """The request alone, each element in the namespace and at the place where the schemas have it."""
    request = next((node for node in root.iter() if _local(node) == "SubmitObjectsRequest"), None)
    objects = (
        next((node for node in request if _local(node) == "RegistryObjectList"), None) if request is not None else None
    )
    if objects is None:
        raise Malformed("METADATA.XML", "it holds no SubmitObjectsRequest with a RegistryObjectList")
    made = etree.Element(f"{{{codes.LCM}}}SubmitObjectsRequest", nsmap={"lcm": codes.LCM, "rim": codes.RIM})
    _copy(made, objects)
    return made


def _copy(parent: etree._Element, node: etree._Element) -> None:
    copied = etree.SubElement(
        parent, f"{{{codes.RIM}}}{_local(node)}", {str(key): str(value) for key, value in node.attrib.items()}
    )
    copied.text = node.text if node.text and node.text.strip() else None
    children = list(node)
    if _local(node) in ("ExtrinsicObject", "RegistryPackage"):
        children.sort(key=lambda child: _ORDER.index(_local(child)) if _local(child) in _ORDER else len(_ORDER))
    for child in children:
        _copy(copied, child)


def _local(node: etree._Element) -> str:
    return etree.QName(node).localname


def _document(extrinsic: etree._Element, listed: Listed) -> XdmDocument:
    facility, practice = (read_code(extrinsic, scheme) for scheme in (codes.ENTRY_FACILITY, codes.ENTRY_PRACTICE))
    specialty = read_slot(extrinsic, "authorSpecialty", AUTHOR)
    return XdmDocument(
        uri=read_slot(extrinsic, "URI"),
        listed=_as_known(extrinsic, listed),
        author=read_xcn(read_slot(extrinsic, "authorPerson", AUTHOR), specialty),
        author_structure=read_xon(read_slot(extrinsic, "authorInstitution", AUTHOR), facility, practice),
        legal_authenticator=read_xcn(read_slot(extrinsic, "legalAuthenticator"), specialty),
        facility=facility,
        practice=practice,
        service_stop=read_slot(extrinsic, "serviceStopTime"),
        source_patient_id=read_slot(extrinsic, "sourcePatientId"),
    )


def _as_known(extrinsic: etree._Element, listed: Listed) -> Listed:
    """With the entryUUID as the registry has it, when the medium tells it apart; empty when it is only a symbol."""
    for identifier in extrinsic.findall("rim:ExternalIdentifier", NAMESPACES):
        if read_name(identifier) == _ENTRY_UUID:
            uuid = "urn:uuid:" + identifier.get("value", "").removeprefix("urn:uuid:")
            return replace(listed, entry_uuid=uuid)
    return listed if listed.entry_uuid.startswith("urn:uuid:") else replace(listed, entry_uuid="")
