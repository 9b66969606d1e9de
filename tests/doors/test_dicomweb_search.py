"""The DICOMweb door: health, refusals, QIDO-RS."""

import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_stage import ROOT, SOURCES, STUDY, Box, path_of
from lxml import etree

from drimbox.errors import leaves
from drimbox.problems import HTTP_STATUS


def test_the_national_health_probe_is_answered(box: Box) -> None:
    reply = box.get("/", "application/json")
    assert (reply.status, reply.headers["content-type"], reply.json) == (200, "application/json", {"status": "up"})


def test_options_describes_the_service(box: Box) -> None:
    reply = box.get("/studies", method="OPTIONS")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/vnd.sun.wadl+xml"
    assert b"KOS-SOPInstanceUID" in reply.body
    etree.fromstring(reply.body)
    assert box.get("/", "application/vnd.sun.wadl+xml").body == reply.body


def test_options_describes_the_service_in_json_too(box: Box) -> None:
    reply = box.get("/", "application/json", method="OPTIONS")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["base"] == ROOT
    resources = {one["path"]: [method["name"] for method in one["methods"]] for one in reply.json["resources"]}
    assert resources["studies"] == ["GET", "POST"]
    assert resources["studies/{study}/series/{series}/instances/{instance}/frames/{frames}"] == ["GET"]


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/", "GET, HEAD, OPTIONS"),
        ("/studies", "GET, HEAD, POST, OPTIONS"),
        ("/studies/", "GET, HEAD, POST, OPTIONS"),
        ("/series", "GET, HEAD, OPTIONS"),
        (f"/studies/{STUDY}/series", "GET, HEAD, OPTIONS"),
        (f"{path_of('ct')}/frames/1", "GET, HEAD, OPTIONS"),
        (f"{path_of('ct')}/bulkdata/00400275/0/00081199", "GET, HEAD, OPTIONS"),
    ],
)
def test_every_route_says_what_is_possible_there(box: Box, path: str, methods: str) -> None:
    assert box.get(path, method="OPTIONS").headers["allow"] == methods
    refused = box.get(path, method="PATCH")
    assert (refused.status, refused.headers["allow"]) == (405, methods)


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PATCH"])
def test_no_route_has_no_methods(box: Box, method: str) -> None:
    assert box.get("/nothing/here", method=method).status == 404
    assert box.get("/studies/1.2/instances/1.3", method=method).status == 404


def test_each_error_leaf_has_a_status() -> None:
    assert set(HTTP_STATUS) == set(leaves())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/studies/1.2.3", 404),
        ("/studies/1.2.3/metadata", 404),
        (f"/studies/{STUDY}/series/1.2.3", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/9.9/frames/1", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/frames/2", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/frames/0", 404),
        (f"/studies/{STUDY}/series/{STUDY}.8/instances/{STUDY}.8.1/frames/1", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/frames/1-2", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/frames/2-1", 400),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/frames/", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/bulkdata/%C3%A9", 404),
        (f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/drawn", 404),
        ("/studies/../../etc/passwd", 404),
        ("/studies/%2e%2e%2fetc%2fpasswd", 404),
        ("/studies/1.2.3'--", 400),
        ("/studies/" + "1" * 65, 400),
        ("/studies?limit=abc", 400),
        ("/studies?" + "a=1&" * 101, 400),
        ("/studies?PatientID=" + "x" * 5000, 400),
        ("/studies?PatientID=%ff", 400),
    ],
)
def test_a_refusal_is_a_problem_document(box: Box, path: str, status: int) -> None:
    reply = box.get(path)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
    assert reply.json["status"] == status
    assert set(reply.json) <= {"type", "title", "status", "detail", "incident"}
    assert len(reply.json["incident"]) == 16
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert b"passwd" not in reply.body


def test_a_hostile_parameter_is_not_echoed(box: Box) -> None:
    reply = box.get("/studies?%3Cscript%3Ealert(1)%3C/script%3E=1")
    assert reply.status == 400
    assert b"script" not in reply.body


def test_a_client_finds_the_study(box: Box, client: DICOMwebClient) -> None:
    (found,) = client.search_for_studies(search_filters={"PatientID": "IPP-1", "StudyDate": "20260101-20260131"})
    assert found["0020000D"]["Value"] == [STUDY]
    assert found["00081190"]["Value"] == [f"{ROOT}/studies/{STUDY}"]
    assert found["00201206"]["Value"] == [len(SOURCES) + 1]
    assert found["00201208"]["Value"] == [len(SOURCES) + 3]


def test_a_client_finds_series_and_instances(box: Box, client: DICOMwebClient) -> None:
    series = client.search_for_series(STUDY, search_filters={"SeriesInstanceUID": f"{STUDY}.2"})
    assert [s["00081190"]["Value"] for s in series] == [[f"{ROOT}/studies/{STUDY}/series/{STUDY}.2"]]
    instances = client.search_for_instances(STUDY, f"{STUDY}.20")
    assert [i["00080018"]["Value"][0] for i in instances] == [f"{STUDY}.20.{n}" for n in (1, 2, 3)]
    assert instances[0]["00081190"]["Value"] == [
        f"{ROOT}{path_of('ct').rpartition('/series/')[0]}/series/{STUDY}.20/instances/{STUDY}.20.1"
    ]


def test_nothing_found_is_an_empty_array(box: Box, client: DICOMwebClient) -> None:
    reply = box.get("/studies?PatientID=NOBODY")
    assert (reply.status, reply.headers["content-type"], reply.json) == (200, "application/dicom+json", [])
    assert client.search_for_studies(search_filters={"PatientID": "NOBODY"}) == []


def test_host_and_forwarded_headers_have_no_say_in_urls(box: Box) -> None:
    evil = {"X_Forwarded_Host": "evil.example", "Forwarded": "host=evil.example", "X_Forwarded_Proto": "gopher"}
    for path in ("/studies", f"{path_of('ct')}/metadata", path_of("ct")):
        reply = box.get(path, **evil)
        assert reply.status == 200
        assert b"evil.example" not in reply.body
        assert "127.0.0.1" not in reply.body.decode("latin-1")


def test_a_page_says_that_more_can_be_asked_for(box: Box) -> None:
    first = box.get(f"/studies/{STUDY}/instances?limit=2")
    assert len(first.json) == 2
    assert first.headers["warning"] == f'299 {ROOT} "There are additional results that can be requested"'
    rest = box.get(f"/studies/{STUDY}/instances?offset=2")
    assert len(rest.json) == len(SOURCES) + 1
    assert "warning" not in rest.headers
    assert "link" not in rest.headers


def test_the_next_page_has_a_link(box: Box) -> None:
    seen: list[str] = []
    path = f"/studies/{STUDY}/instances?limit=5&PatientName=ESSAI*"
    for _ in range(10):
        reply = box.get(path)
        seen += [item["00080018"]["Value"][0] for item in reply.json]
        if "link" not in reply.headers:
            break
        url, relation = reply.headers["link"].split("; ")
        assert (url[:1], url[-1:], relation) == ("<", ">", 'rel="next"')
        path = url[1:-1].removeprefix(ROOT)
    assert len(seen) == len(set(seen)) == len(SOURCES) + 3


@pytest.mark.parametrize("asked", ["essai", "zoe%20essai", "Essaie", "esai", "ESSIA%5EZ"])
def test_fuzzy_matching_finds_a_name_nearly_right(box: Box, asked: str) -> None:
    reply = box.get(f"/studies?fuzzymatching=true&PatientName={asked}")
    assert len(reply.json) == 1
    assert "warning" not in reply.headers


@pytest.mark.parametrize("asked", ["essor", "zoe+durand", "sai"])
def test_fuzzy_matching_does_not_find_everything(box: Box, asked: str) -> None:
    assert box.get(f"/studies?fuzzymatching=true&PatientName={asked}").json == []


def test_answers_may_be_parts_of_xml(box: Box) -> None:
    reply = box.get("/series?limit=2", 'multipart/related; type="application/dicom+xml"')
    assert reply.headers["content-type"].startswith('multipart/related; type="application/dicom+xml"; boundary=')
    parts = reply.parts
    assert [headers["Content-Location"] for headers, _ in parts] == [
        f"{ROOT}/studies/{STUDY}/series/{STUDY}.{n}" for n in (1, 2)
    ]
    for number, (headers, content) in enumerate(parts, start=1):
        assert headers["Content-Type"] == "application/dicom+xml"
        values = {attribute.get("tag"): "".join(attribute.itertext()) for attribute in etree.fromstring(content)}
        assert values["0020000E"] == f"{STUDY}.{number}"
        assert values["00100010"] == "ESSAIZOÉ"
        assert values["00081190"] == headers["Content-Location"]


def test_nothing_found_has_no_parts(box: Box) -> None:
    reply = box.get("/studies?PatientID=NOBODY", 'multipart/related; type="application/dicom+xml"')
    assert (reply.status, reply.body) == (204, b"")


def test_attributes_come_by_increasing_tag(box: Box) -> None:
    for path in ("/studies", "/series", "/instances"):
        for item in box.get(path).json:
            assert list(item) == sorted(item)


def test_accents_and_case_do_not_matter_in_names(box: Box) -> None:
    assert len(box.get("/studies?PatientName=ESSAI%5EZoe").json) == 1


def test_a_search_may_be_refused_by_its_accept(box: Box) -> None:
    assert box.get("/studies", "text/html").status == 406
    assert box.get("/studies?accept=application/dicom+json", "text/html").status == 200
