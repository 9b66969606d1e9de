"""What registries answer, read leniently; the listing is the NIST sample of a KOS, as a registry would give it."""

from pathlib import Path

import pytest
from lxml import etree

from drimbox.errors import Malformed, TooLarge
from drimbox.model import Code
from drimbox.xds.answers import MAX_LISTED, read_query_response, read_registry_response
from drimbox.xds.xml import NAMESPACES

RS = 'xmlns:rs="urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"'
QUERY = 'xmlns:q="urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0" xmlns:r="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"'
STATUS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:"
SEVERITY = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:"
NIST = Path(__file__).parents[1] / "data" / "xds" / "kos-metadata.xml"


def response(status: str, *errors: tuple[str, str]) -> etree._Element:
    lines = "".join(f'<rs:RegistryError errorCode="{c}" codeContext="x" severity="{SEVERITY}{s}"/>' for c, s in errors)
    listed = f"<rs:RegistryErrorList>{lines}</rs:RegistryErrorList>" if errors else ""
    return etree.fromstring(f'<rs:RegistryResponse {RS} status="{status}">{listed}</rs:RegistryResponse>')


@pytest.mark.parametrize(
    ("status", "errors", "is_success", "codes"),
    [
        (f"{STATUS}Success", (), True, ()),
        (f"{STATUS}Success", (("XDSExtraMetadataNotSaved", "Warning"),), True, ()),
        (f"{STATUS}Success", (("XDSRegistryError", "Error"),), False, ("XDSRegistryError",)),
        (f"{STATUS}Failure", (("A", "Error"), ("W", "Warning"), ("B", "Error")), False, ("A", "B")),
        (f"{STATUS}Failure", (), False, ()),
        ("urn:ihe:iti:2007:ResponseStatusType:PartialSuccess", (), False, ()),
    ],
)
def test_only_a_plain_success_is_one(
    status: str, errors: tuple[tuple[str, str], ...], is_success: bool, codes: tuple[str, ...]
) -> None:
    outcome = read_registry_response(response(status, *errors))
    assert outcome.is_success is is_success
    assert outcome.error_codes == codes


def test_the_outcome_inside_a_retrieve_response_is_read() -> None:
    wrapper = etree.Element("{urn:ihe:iti:xds-b:2007}RetrieveDocumentSetResponse")
    wrapper.append(response(f"{STATUS}Failure", ("XDSDocumentUniqueIdError", "Error")))
    assert read_registry_response(wrapper).error_codes == ("XDSDocumentUniqueIdError",)


@pytest.mark.parametrize("text", ["<x/>", f"<rs:RegistryResponse {RS}/>", "<x status='Success'/>"])
def test_without_status_nothing_is_known(text: str) -> None:
    with pytest.raises(Malformed):
        read_registry_response(etree.fromstring(text))


def listing(*entries: str) -> etree._Element:
    objects = f"<r:RegistryObjectList>{''.join(entries)}</r:RegistryObjectList>"
    return etree.fromstring(f'<q:AdhocQueryResponse {QUERY} status="{STATUS}Success">{objects}</q:AdhocQueryResponse>')


def test_the_nist_manifest_is_listed() -> None:
    extrinsic = etree.parse(NIST).find(".//rim:ExtrinsicObject", NAMESPACES)
    assert extrinsic is not None
    (listed,) = read_query_response(listing(etree.tostring(extrinsic, encoding="unicode", with_tail=False)))
    assert listed.unique_id == "1.42.20161103091815.2"
    assert listed.patient_id == "IDS-AD001-a^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"
    assert listed.mime_type == "application/dicom"
    assert listed.created == "20161031091205"
    assert listed.title == "DocA"
    assert listed.institution == "Cleveland Clinic"
    assert listed.format_code == Code(
        "1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.2.6.1", "1.2.840.10008.5.1.4.1.1.88.59"
    )
    assert listed.type_code is not None
    assert listed.type_code.value == "11502-2"
    assert (listed.hash, listed.size_bytes, listed.repository_id) == ("", None, "")


def event(value: str, scheme: str) -> str:
    return (
        '<r:Classification id="x" classifiedObject="e" '
        f'classificationScheme="urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4" nodeRepresentation="{value}">'
        f'<r:Slot name="codingScheme"><r:ValueList><r:Value>{scheme}</r:Value>'
        "</r:ValueList></r:Slot></r:Classification>"
    )


def entry(events: str = "", size: str = "12", unique_id: str = "1.2") -> str:
    return (
        f'<r:ExtrinsicObject id="e"><r:Slot name="size"><r:ValueList><r:Value>{size}</r:Value></r:ValueList></r:Slot>'
        f'{events}<r:ExternalIdentifier id="i" registryObject="e" value="{unique_id}"'
        ' identificationScheme="urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"/></r:ExtrinsicObject>'
    )


def test_events_are_recognised_under_any_of_their_schemes() -> None:
    events = [
        ("MR", "1.2.250.1.213.1.1.5.618"),
        ("CT", "1.2.840.10008.2.16.4"),
        ("US", "1.2.3.4"),  # an OID of the publisher's own
        ("ZZ", "1.2.3.4"),
        ("774007", "2.16.840.1.113883.6.96"),
        ("69536005", "1.2.250.1.213.1.1.5.695"),
        ("ACQH004", "1.2.250.1.213.2.5"),
        ("LCQH001", "1.2.250.1.215.300.1"),
    ]
    (listed,) = read_query_response(listing(entry("".join(event(*pair) for pair in events))))
    assert listed.modalities == ("MR", "CT", "US")
    assert [region.value for region in listed.regions] == ["774007", "69536005"]
    assert [act.value for act in listed.acts] == ["ACQH004", "LCQH001"]


@pytest.mark.parametrize(("size", "expected"), [("12", 12), ("-1", None), ("", None), ("9" * 400, None), ("１", None)])
def test_a_size_that_is_no_number_is_not_told(size: str, expected: int | None) -> None:
    (listed,) = read_query_response(listing(entry(size=size)))
    assert listed.size_bytes == expected


def test_an_empty_list_is_empty() -> None:
    assert read_query_response(listing()) == []
    assert read_query_response(etree.fromstring(f'<q:AdhocQueryResponse {QUERY} status="s"/>')) == []


def test_what_is_no_listing_is_refused() -> None:
    with pytest.raises(Malformed):
        read_query_response(response(f"{STATUS}Success"))
    with pytest.raises(Malformed):
        read_query_response(listing(entry(unique_id="")))
    with pytest.raises(TooLarge):
        read_query_response(listing(*["<r:ExtrinsicObject id='e'/>"] * (MAX_LISTED + 1)))
