"""Other houses' programs at the DICOMweb door: Orthanc as STOW-RS, QIDO-RS and WADO-RS client, dicomtrolley."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dicomweb_stage import Box
from making import ct, file_bytes

from drimbox.sandbox.nodes import free_port

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with closing(Box(tmp_path / "box")) as box:
        yield box


@pytest.fixture
def orthanc(tmp_path: Path, box: Box) -> Iterator[str]:
    if not Path(ORTHANC).exists() or not PLUGIN.exists():
        pytest.skip("Orthanc or its DICOMweb plugin is not installed")
    port = free_port()
    config = tmp_path / "orthanc.json"
    config.write_text(
        json.dumps(
            {
                "StorageDirectory": str(tmp_path / "orthanc"),
                "IndexDirectory": str(tmp_path / "orthanc"),
                "DicomPort": free_port(),
                "HttpPort": port,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "Plugins": [str(PLUGIN)],
                "DicomWeb": {"Enable": True, "Servers": {"box": {"Url": f"http://127.0.0.1:{box.port}/"}}},
            }
        )
    )
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([ORTHANC, str(config)], stdout=log, stderr=log)
        try:
            root = f"http://127.0.0.1:{port}"
            wait_for(f"{root}/system", process)
            yield root
        finally:
            process.terminate()
            process.wait(30)


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, "Orthanc ended"
            assert time.monotonic() < deadline, "Orthanc does not answer"
            time.sleep(0.1)  # it says nothing when it is ready


def post(url: str, body: bytes) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=60) as answer:
        return json.loads(answer.read())


def part10(number: int) -> bytes:
    return file_bytes(ct(1, number, "1.2.3"))


def test_orthanc_stores_and_searches(box: Box, orthanc: str) -> None:
    ids = [post(f"{orthanc}/instances", part10(number))["ID"] for number in (1, 2, 3)]
    post(f"{orthanc}/dicom-web/servers/box/stow", json.dumps({"Resources": ids, "Synchronous": True}).encode())
    assert len(box.get("/instances").json) == 3
    asked = {"Uri": "/studies", "Arguments": {"PatientID": "IPP101"}}
    [found] = post(f"{orthanc}/dicom-web/servers/box/qido", json.dumps(asked).encode())
    assert "1.2.3" in json.dumps(found)


def test_orthanc_retrieves_a_study_a_series_and_an_instance(box: Box, orthanc: str) -> None:
    for number in (1, 2, 3):
        box.keep(part10(number))
    [one, *_] = box.get("/instances").json
    study, series, sop = (one[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    names = {"Study": study, "Series": series, "Instance": sop}
    for wanted, count in (({"Study", "Series", "Instance"}, 1), ({"Study", "Series"}, 3), ({"Study"}, 3)):
        resource = {name: uid for name, uid in names.items() if name in wanted}
        asked = {"Resources": [resource], "Synchronous": True}
        post(f"{orthanc}/dicom-web/servers/box/retrieve", json.dumps(asked).encode())
        with urllib.request.urlopen(f"{orthanc}/statistics", timeout=10) as answer:
            assert json.load(answer)["CountInstances"] == count


def test_dicomtrolley_searches(box: Box) -> None:
    trolley = pytest.importorskip("dicomtrolley.qido_rs")
    requests = pytest.importorskip("requests")
    for number in (1, 2):
        box.keep(part10(number))
    with requests.Session() as session:
        searcher = trolley.QidoRS(session=session, url=f"http://127.0.0.1:{box.port}")
        [study] = searcher.find_studies(trolley.HierarchicalQuery(PatientID="IPP101"))
        assert study.uid == "1.2.3"
        assert list(searcher.find_studies(trolley.HierarchicalQuery(PatientID="NOBODY"))) == []
