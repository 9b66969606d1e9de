"""The metadata of a submission in ebRIM and ebRS 3.0 as IHE uses them (ITI TF-3 §4.2, TF-2 §3.41, §3.57).

What we send is built element by element and valid against the schemas; `questions.py` asks, `answers.py` reads what
comes back.
"""

from collections.abc import Iterable
from copy import deepcopy

from lxml import etree

from drimbox.errors import Malformed
from drimbox.model import Code
from drimbox.xds import codes
from drimbox.xds.answers import Listed
from drimbox.xds.entry import Author, DocumentEntry, SubmissionSet
from drimbox.xds.xml import NAMESPACES, added, written

# --- ITI-41: the submission -----------------------------------------------------------------------------------------


def submit_objects(
    entry: DocumentEntry, submission_set: SubmissionSet, replaces: str = "", signature: DocumentEntry | None = None
) -> bytes:
    """Build lcm:SubmitObjectsRequest for one document: its entry, its set, and what ties them.

    replaces: entryUUID of the approved entry this one takes the place of (RPLC, ITI TF-3 §4.2.2.2), empty for none.
    signature: entry of the document that signs the set. Raises Malformed when a value cannot be written in XML.
    """
    objects = _new_submission(submission_set)
    _add_document_entry(objects, entry, "kos")
    if signature is not None:
        _add_document_entry(objects, signature, "signature")
    _add_original_member(objects, "association-1", submission_set, entry.entry_uuid)
    if replaces:
        _associate(objects, "association-2", codes.REPLACES, entry.entry_uuid, replaces)
    if signature is not None:
        _add_original_member(objects, "association-3", submission_set, signature.entry_uuid)
        signs = _associate(objects, "association-4", codes.SIGNS, signature.entry_uuid, submission_set.entry_uuid)
        _slot(signs, "SubmissionSetStatus", "Original")
    return _submitted(objects)


def document_entries(metadata: etree._Element) -> tuple[str, ...]:
    """The entryUUIDs of the documents that a submission announces, in its order."""
    found = metadata.findall("rim:RegistryObjectList/rim:ExtrinsicObject", NAMESPACES)
    return tuple(extrinsic.get("id", "") for extrinsic in found)


def provide_and_register(metadata: etree._Element, documents: Iterable[tuple[str, str]]) -> etree._Element:
    """Build the body of ITI-41. documents: (id of the entry, Content-ID of the part that holds the bytes)."""
    root = etree.Element(
        f"{{{codes.XDSB}}}ProvideAndRegisterDocumentSetRequest", nsmap={"xdsb": codes.XDSB, "xop": codes.XOP}
    )
    root.append(metadata)
    for entry_id, content_id in documents:
        document = added(root, codes.XDSB, "Document", {"id": entry_id})
        added(document, codes.XOP, "Include", {"href": f"cid:{content_id}"})
    return root


# --- ITI-57: changes of what is registered --------------------------------------------------------------------------


def update_availability(
    submission_set: SubmissionSet, entry_uuid: str, *, old: str = codes.APPROVED, new: str = codes.DELETED
) -> bytes:
    """Build lcm:SubmitObjectsRequest that changes the availabilityStatus of an entry.

    entry_uuid: the one the registry knows it by. By default the document is withdrawn (drim-m.md B.9, TD3.3c).
    Source: ITI TF-2 §3.57.4.1.3.3.2.
    """
    objects = _new_submission(submission_set)
    change = _associate(objects, "association-1", codes.UPDATES_AVAILABILITY, submission_set.entry_uuid, entry_uuid)
    _slot(change, "OriginalStatus", old)
    _slot(change, "NewStatus", new)
    return _submitted(objects)


def update_confidentiality(
    submission_set: SubmissionSet,
    submitted: etree._Element,
    registered: Listed,
    *,
    entry_uuid: str,
    confidentiality: tuple[Code, ...],
) -> bytes:
    """Build lcm:SubmitObjectsRequest that gives an entry other confidentialityCodes and leaves the rest as it is.

    submitted: the lcm:SubmitObjectsRequest the entry was registered with, the document being the one of
    `registered.unique_id`; its text is kept, so that nothing a registry answers is signed by us. registered: the
    entry as the registry lists it. entry_uuid: of the new version. Raises Malformed when it is another document.
    Source: ITI TF-2 §3.57.4.1.3.3.1; the DMP, TD3.3a and TD3.3b.
    """
    objects = _new_submission(submission_set)
    extrinsic = _copied_entry(submitted, registered.unique_id)
    extrinsic.set("id", entry_uuid)
    extrinsic.set("lid", registered.logical_id or registered.entry_uuid)
    for child in list(extrinsic):
        for owner in ("classifiedObject", "registryObject"):
            if child.get(owner) is not None:
                child.set(owner, entry_uuid)
        if child.get("classificationScheme") == codes.ENTRY_CONFIDENTIALITY:
            extrinsic.remove(child)
    for number, code in enumerate(confidentiality, start=1):
        _classify(extrinsic, f"confidentiality-{number}", codes.ENTRY_CONFIDENTIALITY, code)
    extrinsic[:] = sorted(extrinsic, key=lambda child: _ORDER.index(etree.QName(child).localname))
    if registered.repository_id and not extrinsic.xpath("rim:Slot[@name='repositoryUniqueId']", namespaces=NAMESPACES):
        _slot(extrinsic, "repositoryUniqueId", registered.repository_id)
        extrinsic.insert(0, extrinsic[-1])
    objects.append(extrinsic)
    member = _add_original_member(objects, "association-1", submission_set, entry_uuid)
    _slot(member, "PreviousVersion", registered.version)
    return _submitted(objects)


# The order of the children of rim:ExtrinsicObject in its schema.
_ORDER = ("Slot", "Name", "Description", "VersionInfo", "Classification", "ExternalIdentifier", "ContentVersionInfo")


def _copied_entry(submitted: etree._Element, unique_id: str) -> etree._Element:
    for extrinsic in submitted.findall("rim:RegistryObjectList/rim:ExtrinsicObject", NAMESPACES):
        path = f"rim:ExternalIdentifier[@identificationScheme='{codes.ENTRY_UNIQUE_ID}']"
        identifier = extrinsic.find(path, NAMESPACES)
        if identifier is not None and identifier.get("value") == unique_id:
            return deepcopy(extrinsic)
    raise Malformed("metadata", "the document to change is not the one they were submitted with")


# --- Parts of a submission ------------------------------------------------------------------------------------------


def _new_submission(submission_set: SubmissionSet) -> etree._Element:
    root = etree.Element(f"{{{codes.LCM}}}SubmitObjectsRequest", nsmap={"lcm": codes.LCM, "rim": codes.RIM})
    objects = _rim(root, "RegistryObjectList")
    _add_submission_set(objects, submission_set)
    return objects


def _submitted(objects: etree._Element) -> bytes:
    return written(objects.getroottree().getroot())


def _add_original_member(
    objects: etree._Element, name: str, submission_set: SubmissionSet, entry_uuid: str
) -> etree._Element:
    member = _associate(objects, name, codes.HAS_MEMBER, submission_set.entry_uuid, entry_uuid)
    _slot(member, "SubmissionSetStatus", "Original")
    return member


def _add_submission_set(objects: etree._Element, submission_set: SubmissionSet) -> None:
    uuid = submission_set.entry_uuid
    package = _rim(objects, "RegistryPackage", id=uuid)
    _slot(package, "submissionTime", submission_set.submitted)
    _named(package, submission_set.title)
    _classify_author(package, "set-author", codes.SET_AUTHOR, submission_set.author)
    _classify(package, "set-content-type", codes.SET_CONTENT_TYPE, submission_set.content_type)
    _rim(package, "Classification", id="set-node", classifiedObject=uuid, classificationNode=codes.SUBMISSION_SET)
    for name, scheme, value in (
        ("patientId", codes.SET_PATIENT_ID, submission_set.patient_id),
        ("sourceId", codes.SET_SOURCE_ID, submission_set.source_id),
        ("uniqueId", codes.SET_UNIQUE_ID, submission_set.unique_id),
    ):
        _identify(package, f"set-{name}", scheme, value, f"XDSSubmissionSet.{name}")


def _add_document_entry(objects: etree._Element, entry: DocumentEntry, name: str) -> None:
    """The order of the children is that of the schema: slots, names, classifications, identifiers.

    name: begins the ids of its parts; an id is used once in a message.
    """
    extrinsic = _rim(
        objects, "ExtrinsicObject", id=entry.entry_uuid, mimeType=entry.mime_type, objectType=codes.DOCUMENT_ENTRY
    )
    slots: list[tuple[str, tuple[str, ...]]] = [
        ("hash", (entry.hash,)),
        ("size", (str(entry.size_bytes),)),
        ("creationTime", (entry.created,)),
        # Not of IHE: the official French samples carry it on the entry too.
        ("submissionTime", (entry.submitted,)),
        ("languageCode", (entry.language,)),
        ("legalAuthenticator", (entry.legal_authenticator,)),
        ("serviceStartTime", (entry.service_start,)),
        ("serviceStopTime", (entry.service_stop,)),
        ("sourcePatientId", (entry.source_patient_id,)),
        ("sourcePatientInfo", entry.source_patient_info),
        (codes.REFERENCE_ID_LIST, entry.reference_ids),
    ]
    for slot, values in slots:
        _slot(extrinsic, slot, *values)
    _named(extrinsic, entry.title, entry.comments)
    _classify_author(extrinsic, f"{name}-author", codes.ENTRY_AUTHOR, entry.author)
    coded: list[tuple[str, str, tuple[Code, ...]]] = [
        ("class", codes.ENTRY_CLASS, (entry.class_code,)),
        ("type", codes.ENTRY_TYPE, (entry.type_code,)),
        ("confidentiality", codes.ENTRY_CONFIDENTIALITY, entry.confidentiality),
        ("format", codes.ENTRY_FORMAT, (entry.format_code,)),
        ("facility", codes.ENTRY_FACILITY, (entry.facility_type,)),
        ("practice", codes.ENTRY_PRACTICE, (entry.practice_setting,)),
        ("event", codes.ENTRY_EVENT, entry.events),
    ]
    for kind, scheme, kinds in coded:
        for number, code in enumerate(kinds, start=1):
            _classify(extrinsic, f"{name}-{kind}-{number}", scheme, code)
    for identifier, scheme, value in (
        ("patientId", codes.ENTRY_PATIENT_ID, entry.patient_id),
        ("uniqueId", codes.ENTRY_UNIQUE_ID, entry.unique_id),
    ):
        _identify(extrinsic, f"{name}-{identifier}", scheme, value, f"XDSDocumentEntry.{identifier}")


def _rim(parent: etree._Element, tag: str, /, **attributes: str) -> etree._Element:
    return added(parent, codes.RIM, tag, attributes)


def _slot(parent: etree._Element, name: str, *values: str) -> None:
    told = [value for value in values if value]
    if told:
        value_list = _rim(_rim(parent, "Slot", name=name), "ValueList")
        for value in told:
            added(value_list, codes.RIM, "Value", text=value)


def _named(parent: etree._Element, title: str, comments: str = "") -> None:
    for tag, text in (("Name", title), ("Description", comments)):
        if text:
            language = {f"{{{codes.XML}}}lang": "fr-FR", "charset": "UTF-8", "value": text}
            added(_rim(parent, tag), codes.RIM, "LocalizedString", language)


def _classify(parent: etree._Element, name: str, scheme: str, code: Code) -> None:
    owner = str(parent.get("id"))
    node = _rim(
        parent,
        "Classification",
        id=name,
        classificationScheme=scheme,
        classifiedObject=owner,
        nodeRepresentation=code.value,
    )
    _slot(node, "codingScheme", code.scheme)
    _named(node, code.meaning or code.value)


def _classify_author(parent: etree._Element, name: str, scheme: str, author: Author) -> None:
    owner = str(parent.get("id"))
    node = _rim(
        parent, "Classification", id=name, classificationScheme=scheme, classifiedObject=owner, nodeRepresentation=""
    )
    _slot(node, "authorPerson", author.person)
    _slot(node, "authorInstitution", author.institution)
    _slot(node, "authorSpecialty", author.specialty)


def _identify(parent: etree._Element, name: str, scheme: str, value: str, meaning: str) -> None:
    owner = str(parent.get("id"))
    node = _rim(parent, "ExternalIdentifier", id=name, identificationScheme=scheme, registryObject=owner, value=value)
    _named(node, meaning)


def _associate(objects: etree._Element, name: str, kind: str, source: str, target: str) -> etree._Element:
    return _rim(objects, "Association", id=name, associationType=kind, sourceObject=source, targetObject=target)
