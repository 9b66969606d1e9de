"""The bodies of the XDS transactions: ebRIM and ebRS 3.0 as IHE uses them (ITI TF-3 §4.2, TF-2 §3.18, §3.41, §3.43).

What we send is built element by element and valid against the schemas; `answers.py` reads what comes back.
"""

from collections.abc import Iterable

from lxml import etree

from drimbox.model import Code, Identifier
from drimbox.xds import codes
from drimbox.xds.entry import Author, DocumentEntry, SubmissionSet, ins_cx
from drimbox.xds.xml import added, written

# --- ITI-41: the submission -----------------------------------------------------------------------------------------


def submit_objects(entry: DocumentEntry, submission_set: SubmissionSet, replaces: str = "") -> bytes:
    """Build lcm:SubmitObjectsRequest for one document: its entry, its set, and what ties them.

    replaces: entryUUID of the approved entry this one takes the place of (RPLC, ITI TF-3 §4.2.2.2), empty for none.
    Raises Malformed when a value cannot be written in XML.
    """
    root = etree.Element(f"{{{codes.LCM}}}SubmitObjectsRequest", nsmap={"lcm": codes.LCM, "rim": codes.RIM})
    objects = _rim(root, "RegistryObjectList")
    _add_submission_set(objects, submission_set)
    _add_document_entry(objects, entry)
    member = _associate(objects, "association-1", codes.HAS_MEMBER, submission_set.entry_uuid, entry.entry_uuid)
    _slot(member, "SubmissionSetStatus", "Original")
    if replaces:
        _associate(objects, "association-2", codes.REPLACES, entry.entry_uuid, replaces)
    return written(root)


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


def _add_document_entry(objects: etree._Element, entry: DocumentEntry) -> None:
    """The order of the children is that of the schema: slots, names, classifications, identifiers."""
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
    _classify_author(extrinsic, "author", codes.ENTRY_AUTHOR, entry.author)
    coded: list[tuple[str, str, tuple[Code, ...]]] = [
        ("class", codes.ENTRY_CLASS, (entry.class_code,)),
        ("type", codes.ENTRY_TYPE, (entry.type_code,)),
        ("confidentiality", codes.ENTRY_CONFIDENTIALITY, entry.confidentiality),
        ("format", codes.ENTRY_FORMAT, (entry.format_code,)),
        ("facility", codes.ENTRY_FACILITY, (entry.facility_type,)),
        ("practice", codes.ENTRY_PRACTICE, (entry.practice_setting,)),
        ("event", codes.ENTRY_EVENT, entry.events),
    ]
    for name, scheme, kinds in coded:
        for number, code in enumerate(kinds, start=1):
            _classify(extrinsic, f"{name}-{number}", scheme, code)
    _identify(extrinsic, "patientId", codes.ENTRY_PATIENT_ID, entry.patient_id, "XDSDocumentEntry.patientId")
    _identify(extrinsic, "uniqueId", codes.ENTRY_UNIQUE_ID, entry.unique_id, "XDSDocumentEntry.uniqueId")


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


# --- ITI-18 and ITI-43: the questions -------------------------------------------------------------------------------


def find_documents(
    ins: Identifier, *, formats: tuple[Code, ...] = (codes.FORMAT_KOS,), types: tuple[Code, ...] = ()
) -> etree._Element:
    """Build the stored query FindDocuments: the approved entries of a patient, manifests alone by default.

    The format is what every KOS has; the typeCode differs from one publisher to the next.
    Source: ITI TF-2 §3.18.4.1.2.3.7.1.
    """
    return _stored_query(
        codes.FIND_DOCUMENTS,
        {
            "$XDSDocumentEntryPatientId": _quoted(ins_cx(ins)),
            "$XDSDocumentEntryStatus": f"({_quoted(codes.APPROVED)})",
            "$XDSDocumentEntryFormatCode": _coded(formats),
            "$XDSDocumentEntryTypeCode": _coded(types),
        },
    )


def get_documents(unique_id: str) -> etree._Element:
    """Build the stored query GetDocuments for one uniqueId, whatever its status (ITI TF-2 §3.18.4.1.2.3.7.5)."""
    return _stored_query(codes.GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": f"({_quoted(unique_id)})"})


def retrieve_document_set(repository_id: str, unique_id: str) -> etree._Element:
    """Build the body of ITI-43 for one document."""
    root = etree.Element(f"{{{codes.XDSB}}}RetrieveDocumentSetRequest", nsmap={"xdsb": codes.XDSB})
    request = added(root, codes.XDSB, "DocumentRequest")
    added(request, codes.XDSB, "RepositoryUniqueId", text=repository_id)
    added(request, codes.XDSB, "DocumentUniqueId", text=unique_id)
    return root


def _stored_query(query_id: str, parameters: dict[str, str]) -> etree._Element:
    root = etree.Element(f"{{{codes.QUERY}}}AdhocQueryRequest", nsmap={"query": codes.QUERY, "rim": codes.RIM})
    added(root, codes.QUERY, "ResponseOption", {"returnComposedObjects": "true", "returnType": "LeafClass"})
    query = _rim(root, "AdhocQuery", id=query_id)
    for name, value in parameters.items():
        _slot(query, name, value)
    return root


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _coded(values: tuple[Code, ...]) -> str:
    return "(" + ",".join(_quoted(f"{code.value}^^{code.scheme}") for code in values) + ")" if values else ""
