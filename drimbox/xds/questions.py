"""The questions to a registry and a repository: stored queries (ITI-18) and retrieval (ITI-43).

Source: ITI TF-2 §3.18.4.1.2.3.7, §3.43.4.1.
"""

from lxml import etree

from drimbox.model import Code, Identifier
from drimbox.xds import codes
from drimbox.xds.entry import ins_cx
from drimbox.xds.xml import added


def find_documents(
    ins: Identifier,
    *,
    formats: tuple[Code, ...] = (codes.FORMAT_KOS,),
    types: tuple[Code, ...] = (),
    events: tuple[tuple[Code, ...], ...] = (),
    created: tuple[str, str] = ("", ""),
    statuses: tuple[str, ...] = (codes.APPROVED,),
) -> etree._Element:
    """Build the stored query FindDocuments: the approved entries of a patient, manifests alone by default.

    The format is what every KOS has; the typeCode differs from one publisher to the next. events: codes of the
    eventCodeList, one of each tuple must be there. created: DTM, from and before, either may be empty.
    """
    return _stored_query(
        codes.FIND_DOCUMENTS,
        ("$XDSDocumentEntryPatientId", _quoted(ins_cx(ins))),
        ("$XDSDocumentEntryStatus", _listed(statuses)),
        ("$XDSDocumentEntryFormatCode", _coded(formats)),
        ("$XDSDocumentEntryTypeCode", _coded(types)),
        *(("$XDSDocumentEntryEventCodeList", _coded(alternatives)) for alternatives in events),
        ("$XDSDocumentEntryCreationTimeFrom", created[0]),
        ("$XDSDocumentEntryCreationTimeTo", created[1]),
    )


def find_by_reference_id(ins: Identifier, references: tuple[str, ...]) -> etree._Element:
    """Build the stored query FindDocumentsByReferenceId: approved entries of a patient with one of these CXi.

    How the report and the manifest of one exam find each other: by the accession number and its issuer.
    """
    return _stored_query(
        codes.FIND_BY_REFERENCE_ID,
        ("$XDSDocumentEntryPatientId", _quoted(ins_cx(ins))),
        ("$XDSDocumentEntryStatus", _listed((codes.APPROVED,))),
        ("$XDSDocumentEntryReferenceIdList", _listed(references)),
    )


def get_documents(unique_id: str) -> etree._Element:
    """Build the stored query GetDocuments for one uniqueId, whatever its status."""
    return _stored_query(codes.GET_DOCUMENTS, ("$XDSDocumentEntryUniqueId", _listed((unique_id,))))


def retrieve_document_set(repository_id: str, unique_id: str) -> etree._Element:
    """Build the body of ITI-43 for one document."""
    root = etree.Element(f"{{{codes.XDSB}}}RetrieveDocumentSetRequest", nsmap={"xdsb": codes.XDSB})
    request = added(root, codes.XDSB, "DocumentRequest")
    added(request, codes.XDSB, "RepositoryUniqueId", text=repository_id)
    added(request, codes.XDSB, "DocumentUniqueId", text=unique_id)
    return root


def _stored_query(query_id: str, *parameters: tuple[str, str]) -> etree._Element:
    """Empty parameters are left out."""
    root = etree.Element(f"{{{codes.QUERY}}}AdhocQueryRequest", nsmap={"query": codes.QUERY, "rim": codes.RIM})
    added(root, codes.QUERY, "ResponseOption", {"returnComposedObjects": "true", "returnType": "LeafClass"})
    query = added(root, codes.RIM, "AdhocQuery", {"id": query_id})
    for name, value in parameters:
        if value:
            slot = added(query, codes.RIM, "Slot", {"name": name})
            added(added(slot, codes.RIM, "ValueList"), codes.RIM, "Value", text=value)
    return root


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _listed(values: tuple[str, ...]) -> str:
    return f"({','.join(map(_quoted, values))})" if values else ""


def _coded(values: tuple[Code, ...]) -> str:
    return _listed(tuple(f"{code.value}^^{code.scheme}" for code in values))
