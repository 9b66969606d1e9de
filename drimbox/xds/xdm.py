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
from drimbox.model import Code, Identifier, Professional, Structure
from drimbox.xds import codes
from drimbox.xds.answers import Listed, read_query_response
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
        place = places.get(_identified(extrinsic))
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
    set_uid = _identified(package, codes.SET_UNIQUE_ID)
    return XdmSet(set_uid, _one(package, "submissionTime"), documents, written(root))


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
    author = f"rim:Classification[@classificationScheme='{codes.ENTRY_AUTHOR}']"
    person = extrinsic.findtext(f"{author}/rim:Slot[@name='authorPerson']/rim:ValueList/rim:Value", "", NAMESPACES)
    place = extrinsic.findtext(f"{author}/rim:Slot[@name='authorInstitution']/rim:ValueList/rim:Value", "", NAMESPACES)
    specialty = extrinsic.findtext(
        f"{author}/rim:Slot[@name='authorSpecialty']/rim:ValueList/rim:Value", "", NAMESPACES
    )
    facility, practice = (_coded(extrinsic, scheme) for scheme in (codes.ENTRY_FACILITY, codes.ENTRY_PRACTICE))
    return XdmDocument(
        uri=_one(extrinsic, "URI"),
        listed=_as_known(extrinsic, listed),
        author=read_xcn(person or "", specialty or ""),
        author_structure=read_xon(place or "", facility, practice),
        legal_authenticator=read_xcn(_one(extrinsic, "legalAuthenticator"), specialty or ""),
        facility=facility,
        practice=practice,
        service_stop=_one(extrinsic, "serviceStopTime"),
        source_patient_id=_one(extrinsic, "sourcePatientId"),
    )


def _as_known(extrinsic: etree._Element, listed: Listed) -> Listed:
    """With the entryUUID as the registry has it, when the medium tells it apart; empty when it is only a symbol."""
    for identifier in extrinsic.findall("rim:ExternalIdentifier", NAMESPACES):
        name = identifier.find("rim:Name/rim:LocalizedString", NAMESPACES)
        if name is not None and name.get("value") == _ENTRY_UUID:
            uuid = "urn:uuid:" + identifier.get("value", "").removeprefix("urn:uuid:")
            return replace(listed, entry_uuid=uuid)
    return listed if listed.entry_uuid.startswith("urn:uuid:") else replace(listed, entry_uuid="")


def _identified(node: etree._Element, scheme: str = codes.ENTRY_UNIQUE_ID) -> str:
    found = node.find(f"rim:ExternalIdentifier[@identificationScheme='{scheme}']", NAMESPACES)
    return found.get("value", "") if found is not None else ""


def _one(node: etree._Element, name: str) -> str:
    found = node.findtext(f"rim:Slot[@name='{name}']/rim:ValueList/rim:Value", "", NAMESPACES)
    return (found or "").strip()


def _coded(node: etree._Element, scheme: str) -> Code | None:
    found = node.find(f"rim:Classification[@classificationScheme='{scheme}']", NAMESPACES)
    if found is None:
        return None
    meaning = found.find("rim:Name/rim:LocalizedString", NAMESPACES)
    text = meaning.get("value", "") if meaning is not None else ""
    return Code(found.get("nodeRepresentation", ""), _one(found, "codingScheme"), text)


# --- HL7 v2 data types, read back (ITI TF-3 §4.2.3.1.7) -------------------------------------------------------------

_UNESCAPED: Final = {"E": "\\", "F": "|", "S": "^", "T": "&", "R": "~"}


def _plain(text: str) -> str:
    return re.sub(r"\\([EFSTR])\\", lambda escape: _UNESCAPED[escape[1]], text)


def read_xcn(text: str, specialty: str = "") -> Professional | None:
    """Read a professional of an XCN. specialty: authorSpecialty, CE, in which the CDA had the profession too."""
    parts = text.strip().split("^")
    authority = parts[8].split("&") if len(parts) > 8 else []
    if not parts[0] or len(parts) < 3:
        return None
    value, _, rest = specialty.partition("^")
    meaning, _, scheme = rest.partition("^")
    profession = Code(value, scheme, _plain(meaning)) if value and scheme else None
    identifier = Identifier(_plain(parts[0]), authority[1] if len(authority) > 1 else codes.PROFESSIONALS)
    return Professional(identifier, _plain(parts[1]), _plain(parts[2]), profession)


def read_xon(text: str, sector: Code | None = None, practice: Code | None = None) -> Structure | None:
    """Read a care structure of an XON."""
    parts = text.strip().split("^")
    if len(parts) < 10 or not parts[9]:
        return None
    authority = parts[5].split("&")
    identifier = Identifier(_plain(parts[9]), authority[1] if len(authority) > 1 else codes.STRUCTURES)
    return Structure(identifier, _plain(parts[0]), sector, practice)
