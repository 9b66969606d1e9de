"""Read what registries and repositories answer: outcome, errors, listed entries (ebRS 3.0, ITI TF-3 §4.2).

Taken leniently, by name: the schemes of the codes and the optional metadata differ from one publisher to the next.
"""

from dataclasses import dataclass
from typing import Literal

from lxml import etree

from drimbox.errors import Malformed, TooLarge
from drimbox.model import Code
from drimbox.xds import codes
from drimbox.xds.rim import AUTHOR, read_code, read_codes, read_identifier, read_name, read_slot, read_slots
from drimbox.xds.xml import NAMESPACES

MAX_LISTED = 10_000

_ANSWERS = frozenset({f"{{{codes.RS}}}RegistryResponse", f"{{{codes.QUERY}}}AdhocQueryResponse"})


@dataclass(frozen=True, slots=True)
class RegistryError:
    """code: of the list ITI TF-3 §4.2.4. context: free text of the server; it may name the patient: never logged."""

    code: str
    context: str
    severity: Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class RegistryOutcome:
    """rs:RegistryResponse. status: its URN."""

    status: str
    errors: tuple[RegistryError, ...]

    @property
    def is_success(self) -> bool:
        """Everything was done: the status says so and no error contradicts it; warnings may come along."""
        return self.status == codes.SUCCESS and not self.error_codes

    @property
    def warning_codes(self) -> tuple[str, ...]:
        """The codes of the warnings."""
        return tuple(error.code for error in self.errors if error.severity == "warning")

    @property
    def error_codes(self) -> tuple[str, ...]:
        """The codes of the errors, without the warnings."""
        return tuple(error.code for error in self.errors if error.severity == "error")


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a query response. What the publisher did not tell is empty, and size_bytes None.

    patient_id: CX. reference_ids: CXi. modalities: DICOM codes. logical_id: entryUUID of its first version (lid).
    version: VersionInfo/@versionName, 1 when not told. Other names as DocumentEntry.
    """

    entry_uuid: str
    unique_id: str
    repository_id: str
    patient_id: str
    mime_type: str
    status: str
    hash: str
    size_bytes: int | None
    title: str
    created: str
    service_start: str
    institution: str
    type_code: Code | None
    format_code: Code | None
    acts: tuple[Code, ...]
    modalities: tuple[str, ...]
    regions: tuple[Code, ...]
    reference_ids: tuple[str, ...]
    confidentiality: tuple[Code, ...] = ()
    logical_id: str = ""
    version: str = "1"


def read_registry_response(body: etree._Element) -> RegistryOutcome:
    """Read the status and the errors of rs:RegistryResponse, or of a query or retrieve response.

    Raises Malformed when there is no status: nothing is then known of the outcome.
    """
    holder = body if body.tag in _ANSWERS else body.find("rs:RegistryResponse", NAMESPACES)
    if holder is None or not holder.get("status"):
        raise Malformed("registry response", "it has no status")
    errors = tuple(
        RegistryError(
            code=error.get("errorCode", ""),
            context=error.get("codeContext", ""),
            severity="warning" if error.get("severity", "").endswith(":Warning") else "error",
        )
        for error in _found(holder, "rs:RegistryErrorList/rs:RegistryError")
    )
    return RegistryOutcome(holder.get("status", ""), errors)


def read_query_response(body: etree._Element) -> list[Listed]:
    """Read the entries of a query:AdhocQueryResponse, in its order. The outcome is read apart.

    Raises Malformed when an entry lacks its uniqueId, TooLarge over 10,000 entries.
    """
    if body.tag != f"{{{codes.QUERY}}}AdhocQueryResponse":
        raise Malformed("query response", "not an AdhocQueryResponse")
    extrinsics = _found(body, "rim:RegistryObjectList/rim:ExtrinsicObject")
    if len(extrinsics) > MAX_LISTED:
        raise TooLarge("query response", f"over {MAX_LISTED} entries")
    return [_read_entry(extrinsic) for extrinsic in extrinsics]


def _read_entry(extrinsic: etree._Element) -> Listed:
    unique_id = read_identifier(extrinsic, codes.ENTRY_UNIQUE_ID)
    if not unique_id:
        raise Malformed("query response", "an entry has no uniqueId")
    slots = read_slots(extrinsic)
    events = read_codes(extrinsic, codes.ENTRY_EVENT)
    size = _one(slots, "size")
    version = extrinsic.find("rim:VersionInfo", NAMESPACES)
    return Listed(
        entry_uuid=extrinsic.get("id", ""),
        unique_id=unique_id,
        repository_id=_one(slots, "repositoryUniqueId"),
        patient_id=read_identifier(extrinsic, codes.ENTRY_PATIENT_ID),
        mime_type=extrinsic.get("mimeType", ""),
        status=extrinsic.get("status", ""),
        hash=_one(slots, "hash").lower(),
        size_bytes=int(size) if size.isascii() and size.isdigit() and len(size) <= 15 else None,
        title=read_name(extrinsic),
        created=_one(slots, "creationTime"),
        service_start=_one(slots, "serviceStartTime"),
        institution=read_slot(extrinsic, "authorInstitution", AUTHOR).partition("^")[0],
        type_code=read_code(extrinsic, codes.ENTRY_TYPE),
        format_code=read_code(extrinsic, codes.ENTRY_FORMAT),
        acts=tuple(code for code in events if code.scheme in codes.ACT_SCHEMES),
        modalities=tuple(code.value for code in events if _is_modality(code)),
        regions=tuple(code for code in events if code.scheme in codes.REGION_SCHEMES),
        reference_ids=slots.get(codes.REFERENCE_ID_LIST, ()),
        confidentiality=tuple(read_codes(extrinsic, codes.ENTRY_CONFIDENTIALITY)),
        logical_id=extrinsic.get("lid", ""),
        version=version.get("versionName", "1") if version is not None else "1",
    )


def _is_modality(code: Code) -> bool:
    """By its scheme, else by its value: some publishers put modalities under an OID of their own."""
    known = code.scheme in codes.ACT_SCHEMES or code.scheme in codes.REGION_SCHEMES
    return code.scheme in codes.MODALITY_SCHEMES or (not known and code.value in codes.MODALITIES)


def _found(parent: etree._Element, path: str) -> list[etree._Element]:
    return parent.findall(path, NAMESPACES)


def _one(slots: dict[str, tuple[str, ...]], name: str) -> str:
    return next(iter(slots.get(name, ())), "")
