"""includefield, and criteria inside sequences, through the door (PS3.18 §8.3.4.1 and §8.3.4.3).

Every answer holds all the index knows, so what is looked at is: the values are there, each in its place, and what is
not held is told and nothing else is.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from dicomweb_stage import ROOT, Box
from lxml import etree
from making import ct, file_bytes
from pydicom import Dataset
from pydicom.sequence import Sequence

UID = "1.2.826.0.1.3680043.8.498.36"
PARTS_OF_XML = 'multipart/related; type="application/dicom+xml"'
LEFT_OUT = "Attributes of includefield that the index does not hold were left out: "
MORE = "There are additional results that can be requested"


def request(step: str, procedure: str, **more: str) -> Dataset:
    made = Dataset()
    made.ScheduledProcedureStepID, made.RequestedProcedureID = step, procedure
    for keyword, value in more.items():
        setattr(made, keyword, value)
    return made


def instances() -> Iterator[Dataset]:
    """Two studies of a series of an instance; the first answers two requests, the second one."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "ZBQK002", "CCAM", "TDM"
    yield ct(
        study=f"{UID}.1",
        StudyDate="20260302",
        PatientWeight="70",
        BodyPartExamined="CHEST",
        ProcedureCodeSequence=Sequence([code]),
        RequestAttributesSequence=Sequence(
            [request("SPS1", "RP1", ScheduledProcedureStepDescription="TDM"), request("SPS2", "RP2")]
        ),
    )
    yield ct(study=f"{UID}.2", RequestAttributesSequence=Sequence([request("SPS1", "RP2")]))


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    served = Box(tmp_path_factory.mktemp("includefield"))
    try:
        for made in instances():
            served.keep(file_bytes(made))
        yield served
    finally:
        served.close()


DESCRIPTION = {"00081030": {"vr": "LO", "Value": ["TDM thorax"]}}
MODALITIES = {"00080061": {"vr": "CS", "Value": ["CT"]}}
BODY_PART = {"00180015": {"vr": "CS", "Value": ["CHEST"]}}
REQUESTS = {
    "00400275": {
        "vr": "SQ",
        "Value": [
            {"00400009": {"vr": "SH", "Value": ["SPS1"]}, "00401001": {"vr": "SH", "Value": ["RP1"]}},
            {"00400009": {"vr": "SH", "Value": ["SPS2"]}, "00401001": {"vr": "SH", "Value": ["RP2"]}},
        ],
    }
}
ROWS = {"00280010": {"vr": "US", "Value": [16]}}
LOCATION = {"00081190": {"vr": "UR", "Value": [f"{ROOT}/studies/{UID}.1"]}}

# resources, the query, what the answer holds among others, the tags that are told to be left out
INCLUDED: list[tuple[str, str, dict[str, Any], str]] = [
    ("studies", "includefield=StudyDescription", DESCRIPTION, ""),
    ("studies", "includefield=00081030", DESCRIPTION, ""),
    ("studies", "includefield=0020000d&includefield=00081030", DESCRIPTION, ""),
    ("studies", "includefield=StudyDescription,00080061", DESCRIPTION | MODALITIES, ""),
    ("studies", "includefield=StudyDescription,%20ModalitiesInStudy", DESCRIPTION | MODALITIES, ""),
    ("studies", "includefield=StudyDescription&includefield=StudyDescription,00081030", DESCRIPTION, ""),
    ("studies", "includefield=all", DESCRIPTION | MODALITIES | LOCATION, ""),
    (
        "studies",
        "includefield=all&includefield=StudyDescription",
        DESCRIPTION,
        "",
    ),  # §8.3.4.3 forbids it, OHIF sends it
    ("studies", "includefield=RetrieveURL", LOCATION, ""),
    ("studies", "includefield=", DESCRIPTION, ""),
    ("studies", "StudyDescription=TDM*&includefield=StudyDescription", DESCRIPTION, ""),  # both asked and included
    ("series", "includefield=StudyDescription,BodyPartExamined", DESCRIPTION | BODY_PART, ""),
    ("series", "includefield=RequestAttributesSequence", REQUESTS, ""),
    ("series", "includefield=RequestAttributesSequence.ScheduledProcedureStepID", REQUESTS, ""),
    ("series", "includefield=00400275.00401001,RequestAttributesSequence.00400009", REQUESTS, ""),
    ("instances", "includefield=Rows,BodyPartExamined", ROWS | BODY_PART, ""),
    ("instances", "includefield=RequestAttributesSequence.RequestedProcedureID", REQUESTS, ""),
    ("instances", "includefield=all", DESCRIPTION | BODY_PART | REQUESTS | ROWS, ""),
    # What is not held: it is left out, the rest is answered, and that is said
    ("studies", "includefield=PatientWeight,StudyDescription", DESCRIPTION, "00101030"),
    ("studies", "includefield=ProcedureCodeSequence.CodeValue", {}, "00081032.00080100"),
    ("studies", "includefield=PatientWeight,00101030&includefield=all", DESCRIPTION, "00101030"),
    ("studies", "includefield=PatientWeight&includefield=PatientSize", {}, "00101030 00101020"),
    (
        "series",
        "includefield=RequestAttributesSequence.ScheduledProcedureStepDescription",
        REQUESTS,
        "00400275.00400007",
    ),
    ("series", "includefield=StudyDescription.CodeValue", DESCRIPTION, "00081030.00080100"),
    # Of a level below (§10.6.3.3)
    ("studies", "includefield=BodyPartExamined", {}, "00180015"),
    ("series", "includefield=Rows", {}, "00280010"),
    # Of private elements none; the one who made them is named by a parameter (§8.3.4.3), before or after
    ("studies", "includefield=00091001&00090010=ACME", {}, "00091001"),
    ("studies", "00090010=ACME&includefield=00091001,00091002", {}, "00091001 00091002"),
]


@pytest.mark.parametrize(("resources", "query", "expected", "left_out"), INCLUDED)
def test_what_is_included_is_answered_or_told(
    held: Box, resources: str, query: str, expected: dict[str, Any], left_out: str
) -> None:
    reply = held.get(f"/{resources}?StudyDate=20260302&{query}", "application/dicom+json")
    assert reply.status == 200
    (item,) = reply.json
    assert {tag: item[tag] for tag in expected} == expected
    assert not item.keys() & set(left_out.split())
    assert reply.headers.get("warning") == (f'299 {ROOT} "{LEFT_OUT}{left_out}"' if left_out else None)


@pytest.mark.parametrize(("resources", "query", "expected", "left_out"), INCLUDED)
def test_the_same_is_answered_in_xml(
    held: Box, resources: str, query: str, expected: dict[str, Any], left_out: str
) -> None:
    reply = held.get(f"/{resources}?StudyDate=20260302&{query}", PARTS_OF_XML)
    ((_, content),) = reply.parts
    tags = {attribute.get("tag") for attribute in etree.fromstring(content)}
    assert expected.keys() <= tags
    assert not tags & set(left_out.split())
    assert reply.headers.get("warning") == (f'299 {ROOT} "{LEFT_OUT}{left_out}"' if left_out else None)


def test_both_items_of_a_sequence_are_answered_in_xml(held: Box) -> None:
    reply = held.get("/series?StudyDate=20260302&includefield=RequestAttributesSequence", PARTS_OF_XML)
    ((_, content),) = reply.parts
    assert (
        '<DicomAttribute tag="00400275" vr="SQ" keyword="RequestAttributesSequence">'
        '<Item number="1"><DicomAttribute tag="00400009" vr="SH" keyword="ScheduledProcedureStepID">'
        '<Value number="1">SPS1</Value></DicomAttribute>'
        '<DicomAttribute tag="00401001" vr="SH" keyword="RequestedProcedureID">'
        '<Value number="1">RP1</Value></DicomAttribute></Item><Item number="2">'
    ) in content.decode()


def test_several_things_are_told_each_by_a_warning(held: Box) -> None:
    """What was left out, and that there is more; the answer is the one without both."""
    reply = held.get("/studies?limit=1&includefield=PatientWeight&multiplevaluematching=true")
    told = reply.headers["warning"]
    assert [told.count(text) for text in (f'"{LEFT_OUT}00101030"', f'"{MORE}"', "multiplevaluematching")] == [1, 1, 1]
    assert len(reply.json) == 1


@pytest.mark.parametrize(
    "query",
    [
        "includefield=Nonsense",  # no keyword of PS3.6: a wrong value (§8.3)
        "includefield=StudyDescription,Nonsense",
        "includefield=0010103",
        "includefield=RequestAttributesSequence.",
        "includefield=ALL",
        "includefield=%3Cscript%3E",
        "00090010=ACME",  # the creator of nothing that is asked for
        "00090011=ACME&includefield=00091001",
    ],
)
def test_what_is_no_attribute_is_refused(held: Box, query: str) -> None:
    reply = held.get(f"/studies?{query}")
    assert (reply.status, reply.headers["content-type"]) == (400, "application/problem+json")
    assert b"script" not in reply.body


# query: which of the two studies have a series that satisfies it
INSIDE: list[tuple[str, list[int]]] = [
    ("RequestAttributesSequence.ScheduledProcedureStepID=SPS1", [1, 2]),
    ("00400275.00400009=SPS2", [1]),
    ("RequestAttributesSequence.00401001=RP*", [1, 2]),
    ("00400275.RequestedProcedureID=RP3", []),
    # All by one item (PS3.4 §C.2.2.2.6)
    ("00400275.00400009=SPS1&00400275.00401001=RP1", [1]),
    ("00400275.00400009=SPS1&00400275.00401001=RP2", [2]),
    ("00400275.00400009=SPS*&00400275.00401001=RP2", [1, 2]),
    ("00400275.00400009=SPS2&00400275.00401001=RP1", []),
]


@pytest.mark.parametrize("resources", ["series", "instances"])
@pytest.mark.parametrize(("query", "expected"), INSIDE)
def test_what_is_asked_inside_a_sequence_is_true_of_one_item(
    held: Box, resources: str, query: str, expected: list[int]
) -> None:
    reply = held.get(f"/{resources}?{query}")
    assert reply.status == 200
    assert sorted(item["0020000D"]["Value"][0] for item in reply.json) == [f"{UID}.{number}" for number in expected]


@pytest.mark.parametrize(
    "query",
    [
        "RequestAttributesSequence.ScheduledProcedureStepDescription=TDM",  # in the file, not in the index
        "00400275.00081030=TDM*",
        "PatientID.PatientName=X",  # no sequence
        "RequestAttributesSequence=SPS1",
        "ProcedureCodeSequence.CodeValue=ZBQK002",
    ],
)
def test_what_the_index_does_not_hold_inside_a_sequence_is_refused(held: Box, query: str) -> None:
    assert held.get(f"/series?{query}").status == 400


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"StudyInstanceUID={UID}.1&StudyInstanceUID={UID}.2", [1, 2]),
        (f"StudyInstanceUID={UID}.1&0020000D={UID}.9", [1]),
        (f"StudyInstanceUID={UID}.1,{UID}.9&StudyInstanceUID={UID}.2", [1, 2]),
    ],
)
def test_a_uid_that_is_asked_for_again_makes_a_list(held: Box, query: str, expected: list[int]) -> None:
    found = sorted(item["0020000D"]["Value"][0] for item in held.get(f"/studies?{query}").json)
    assert found == [f"{UID}.{number}" for number in expected]
    assert held.get(f"/studies/{UID}.1/series?StudyInstanceUID={UID}.2").status == 400  # the path says which
