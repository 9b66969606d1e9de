"""The stored queries and the retrieval of the sandbox DMP (IHE ITI TF-2 §3.18, §3.43)."""

import re
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from drimbox.sandbox.dmp_schemas import read_schema
from drimbox.sandbox.dmp_store import Holding, Store
from drimbox.sandbox.dmp_wire import (
    NAMES,
    Fault,
    Request,
    write_answer,
    write_errors,
    write_registry_response,
    write_related,
)

REPOSITORY_ID = "1.2.250.1.213.4.5.9.1"

_FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
_FIND_BY_REFERENCE_ID = "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492"
_GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
_SUCCESS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
_FAILURE = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure"
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_CODE_PARAMETERS = {
    "$XDSDocumentEntryFormatCode": "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d",
    "$XDSDocumentEntryTypeCode": "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983",
    "$XDSDocumentEntryClassCode": "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a",
    "$XDSDocumentEntryEventCodeList": "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4",
}


def answer_query(body: Any, patient_id: str, store: Store) -> str:
    """Answer query:AdhocQueryRequest with query:AdhocQueryResponse; patient_id: the one the assertion speaks about."""
    if not read_schema("xds/query.xsd").validate(etree.fromstring(etree.tostring(body))):
        raise Fault("the query is not valid")
    query = body.find("r:AdhocQuery", NAMES)
    told: list[tuple[str, list[str]]] = [
        (
            slot.get("name"),
            [
                value.replace("''", "'") if text[:1] in "('" else text
                for text in slot.xpath("r:ValueList/r:Value/text()", namespaces=NAMES)
                for value in (_QUOTED.findall(text) if text[:1] in "('" else [text])
            ],
        )
        for slot in query.findall("r:Slot", NAMES)
    ]
    parameters = dict(told)
    match query.get("id"):
        case value if value == _FIND_DOCUMENTS:
            found = _find(told, parameters, patient_id, store)
        case value if value == _FIND_BY_REFERENCE_ID:
            wanted_references = set(parameters.get("$XDSDocumentEntryReferenceIdList", []))
            found = [
                holding
                for holding in _find([], parameters, patient_id, store) or []
                if wanted_references.intersection(_slot(holding, "urn:ihe:iti:xds:2013:referenceIdList"))
            ]
        case value if value == _GET_DOCUMENTS:
            wanted = parameters.get("$XDSDocumentEntryUniqueId", []), parameters.get("$XDSDocumentEntryEntryUUID", [])
            held = [*map(store.by_unique_id, wanted[0]), *map(store.by_entry, wanted[1])]
            found = [holding for holding in held if holding is not None and holding.patient_id == patient_id]
        case _:
            return _query_response(_FAILURE, [], [("XDSUnknownStoredQuery", "")])
    if found is None:
        return _query_response(_FAILURE, [], [("XDSStoredQueryMissingParam", "patient id or status")])
    is_leaf = body.find("q:ResponseOption", NAMES).get("returnType") == "LeafClass"
    return _query_response(_SUCCESS, [_listed(h) if is_leaf else _reference(h) for h in found], [])


def _find(
    told: list[tuple[str, list[str]]], parameters: dict[str, list[str]], patient_id: str, store: Store
) -> list[Holding] | None:
    """Parameters told twice must both hold (ITI TF-2 §3.18.4.1.2.3.5)."""
    statuses = parameters.get("$XDSDocumentEntryStatus")
    if parameters.get("$XDSDocumentEntryPatientId") != [patient_id] or not statuses:
        return None
    return [
        holding
        for holding in store.by_patient(patient_id)
        if holding.status in statuses
        and all(_has_code(holding, _CODE_PARAMETERS[name], values) for name, values in told if name in _CODE_PARAMETERS)
        and _is_between(holding, parameters)
    ]


def _is_between(holding: Holding, parameters: dict[str, list[str]]) -> bool:
    (created,) = _slot(holding, "creationTime")
    start = parameters.get("$XDSDocumentEntryCreationTimeFrom", [""])[0]
    end = parameters.get("$XDSDocumentEntryCreationTimeTo", ["9"])[0]
    return start <= created < end


def _slot(holding: Holding, name: str) -> list[str]:
    entry: Any = etree.fromstring(holding.metadata)
    return [str(value) for value in entry.xpath(f"r:Slot[@name='{name}']/r:ValueList/r:Value/text()", namespaces=NAMES)]


def _has_code(holding: Holding, scheme: str, wanted: list[str]) -> bool:
    entry: Any = etree.fromstring(holding.metadata)
    nodes = entry.findall(f"r:Classification[@classificationScheme='{scheme}']", NAMES)
    path = "r:Slot[@name='codingScheme']/r:ValueList/r:Value"
    told = {f"{node.get('nodeRepresentation')}^^{node.findtext(path, '', NAMES)}" for node in nodes}
    return bool(told.intersection(wanted))


def _listed(holding: Holding) -> str:
    """The entry as it was submitted, with what the registry adds: status, lid, version, repositoryUniqueId."""
    entry: Any = etree.fromstring(holding.metadata)
    entry.set("status", holding.status)
    entry.set("id", holding.entry_uuid)
    entry.set("lid", holding.logical_id)
    version = etree.Element(f"{{{NAMES['r']}}}VersionInfo", versionName=str(holding.version))
    entry.insert(len(entry.xpath("r:Slot|r:Name|r:Description", namespaces=NAMES)), version)
    for known in entry.xpath("r:Slot[@name='repositoryUniqueId']", namespaces=NAMES):
        entry.remove(known)
    slot = etree.SubElement(entry, f"{{{NAMES['r']}}}Slot", name="repositoryUniqueId")
    etree.SubElement(
        etree.SubElement(slot, f"{{{NAMES['r']}}}ValueList"), f"{{{NAMES['r']}}}Value"
    ).text = REPOSITORY_ID
    entry.insert(0, slot)
    return etree.tostring(entry, encoding="unicode")


def _reference(holding: Holding) -> str:
    return f'<r:ObjectRef xmlns:r="{NAMES["r"]}" id={quoteattr(holding.entry_uuid)}/>'


def _query_response(status: str, objects: list[str], errors: list[tuple[str, str]]) -> str:
    return (
        f'<q:AdhocQueryResponse xmlns:q="{NAMES["q"]}" xmlns:r="{NAMES["r"]}" status="{status}">{write_errors(errors)}'
        f"<r:RegistryObjectList>{''.join(objects)}</r:RegistryObjectList></q:AdhocQueryResponse>"
    )


def answer_retrieve(
    request: Request, patient_id: str, store: Store, action: str, *, plain: bool = True, tampered: bool = False
) -> tuple[str, bytes]:
    """Answer ITI-43 for one document: the media type and the body.

    plain: False for odd but legal MIME. tampered: one byte of the document is wrong.
    """
    if not read_schema("xds/XDS.b_DocumentRepository.xsd").validate(etree.fromstring(etree.tostring(request.body))):
        raise Fault("the request is not valid")
    asked = request.body.findall("b:DocumentRequest", NAMES)
    unique_id = asked[0].findtext("b:DocumentUniqueId", "", NAMES)
    holding = store.by_unique_id(unique_id)
    is_ours = asked[0].findtext("b:RepositoryUniqueId", "", NAMES) == REPOSITORY_ID and len(asked) == 1
    opened = f'<b:RetrieveDocumentSetResponse xmlns:b="{NAMES["b"]}">'
    if holding is None or not is_ours or holding.patient_id != patient_id:
        code = "XDSDocumentUniqueIdError" if is_ours else "XDSUnknownRepositoryId"
        body = f"{opened}{write_registry_response(_FAILURE, [(code, unique_id)])}</b:RetrieveDocumentSetResponse>"
        return "application/soap+xml; charset=UTF-8", write_answer(body, action, request.message_id)
    content_id = "part-1@dmp.sandbox"
    body = (
        f"{opened}{write_registry_response(_SUCCESS)}<b:DocumentResponse>"
        f"<b:RepositoryUniqueId>{REPOSITORY_ID}</b:RepositoryUniqueId>"
        f"<b:DocumentUniqueId>{escape(unique_id)}</b:DocumentUniqueId><b:mimeType>{holding.mime_type}</b:mimeType>"
        f'<b:Document><x:Include xmlns:x="{NAMES["x"]}" href="cid:{content_id.replace("@", "%40")}"/></b:Document>'
        "</b:DocumentResponse></b:RetrieveDocumentSetResponse>"
    )
    envelope = write_answer(body, action, request.message_id)
    document = holding.content[:-1] + bytes([holding.content[-1] ^ 1]) if tampered else holding.content
    return write_related(envelope, (content_id, document), plain=plain)
