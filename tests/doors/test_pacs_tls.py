"""What we call under TLS: DCMTK's storescp, and our own door, which judge our certificate as we judge theirs."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from making import STUDY, ct
from pacs_stage import until_it_listens
from pydicom import Dataset, dcmread
from pynetdicom import AE

sys.path.append(str(Path(__file__).parent))
from dicom_query_stage import open_house
from dicom_scp_stage import MemoryIngest, open_door

from drimbox.errors import Unavailable
from drimbox.pacs.client import ArchiveScu
from drimbox.pacs.send import send_files
from drimbox.sandbox.nodes import free_port
from drimbox.settings import Destination, Pacs

STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"

needs_dcmtk = pytest.mark.skipif(not shutil.which("storescp"), reason="DCMTK is not installed")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def door(authority: Authority, **others: Any) -> dict[str, Any]:
    files = authority.server()
    return {
        "tls_port": 0, "tls_certificate": files.certificate, "tls_key": files.key, "tls_ca": files.ca, **others,
    }  # fmt: skip


def place(port: int, authority: Authority, **changes: Any) -> Destination:
    certificate, key = authority.issue("gateway")
    tls = {"tls_ca": authority.ca, "tls_certificate": certificate, "tls_key": key}
    return Destination(**{"ae_title": "DRIMBOX", "host": "127.0.0.1", "port": port, **tls, **changes})


def write(path: Path, made: Any) -> Path:
    made.save_as(path, enforce_file_format=True)
    return path


async def _sent(files: list[Path], to: Destination) -> list[object]:
    said: list[object] = []
    await send_files(files, to, "SENDER", lambda _, outcome: said.append(outcome))
    return said


def sent(files: list[Path], to: Destination) -> list[object]:
    return asyncio.run(_sent(files, to))


def test_instances_small_and_large_go_under_tls(tmp_path: Path, authority: Authority) -> None:
    large = ct(1, 2, Rows=2000, Columns=2000, PixelData=bytes(range(250)) * 32000)
    files = [write(tmp_path / "1.dcm", ct(1, 1)), write(tmp_path / "2.dcm", large)]
    ingest = MemoryIngest()
    with open_door(ingest, plain=False, **door(authority)) as stage:
        to = place(stage.places["dicom-tls"][1], authority)
        assert sent(files, to) == [0x0000, 0x0000]
        assert {credentials.certificate for credentials in ingest.admitted} == {"CN=gateway,O=Hospital"}
        asyncio.run(ArchiveScu(to, "SENDER", 60, 60).echo())
    assert len(ingest.kept[large.SOPInstanceUID]) > 8_000_000


def test_who_is_not_believed_is_not_sent_to(tmp_path: Path, authority: Authority) -> None:
    """By us: of another authority, of another name. By them: we show nothing, or what is not of their authority."""
    file, other = write(tmp_path / "1.dcm", ct(1, 1)), Authority(tmp_path / "other")
    ingest = MemoryIngest()
    with open_door(ingest, **door(authority)) as stage:
        port = stage.places["dicom-tls"][1]
        stranger = dict(zip(("tls_certificate", "tls_key"), other.issue("stranger"), strict=True))
        for changes, why in (
            ({"tls_ca": other.ca}, "not believed"),
            ({"tls_name": "pacs.example.org"}, "not believed"),
            ({"tls_certificate": None, "tls_key": None}, "association|TLS"),
            (stranger, "association|TLS"),
            ({"tls_ca": tmp_path / "absent.pem"}, "tls_ca"),
            ({"port": stage.place[1]}, "no TLS connection"),  # the plain port
            ({"port": free_port()}, "no TLS connection"),
        ):
            with pytest.raises(Unavailable, match=why):
                sent([file], place(**{"port": port, "authority": authority, **changes}))
        assert sent([file], place(port, authority, tls_name="localhost")) == [0x0000]
    assert list(ingest.kept) == [f"{STUDY}.1.1"]


def test_an_association_that_is_given_up_is_over_for_the_other_end_too(authority: Authority) -> None:
    ingest = MemoryIngest()
    with open_door(ingest, **door(authority)) as stage:
        to = place(stage.places["dicom-tls"][1], authority)
        with pytest.raises(Unavailable):
            asyncio.run(ArchiveScu(to, "SENDER", 0.0001, 1).find("STUDY", {"0020000D": "1.2.3"}))
        assert ingest.end.wait(60)


def test_a_study_is_got_under_tls(tmp_path: Path, authority: Authority) -> None:
    arrived: dict[str, int] = {}

    async def take(sop_class_uid: str, sop_uid: str, transfer_syntax: str, data: memoryview) -> int:
        arrived[sop_uid] = len(data)
        return 0

    with open_house(tmp_path / "house", **door(authority)) as house:
        house.keep(ct(1, 1))
        house.keep(ct(1, 2, Rows=1200, Columns=1200, PixelData=bytes(range(250)) * 11520))
        archive = ArchiveScu(place(house.stage.places["dicom-tls"][1], authority), "VIEWER", 60, 60)
        [study] = asyncio.run(archive.find_studies(study_uid=STUDY))
        asyncio.run(archive.get(STUDY, take))
    assert study["00080050"]["Value"] == ["ACC1"]
    assert sorted(arrived) == [f"{STUDY}.1.1", f"{STUDY}.1.2"]
    assert arrived[f"{STUDY}.1.2"] > 2_880_000


# --- DCMTK ------------------------------------------------------------------------------------------------------------


@contextmanager
def storescp(folder: Path, authority: Authority) -> Iterator[int]:
    """One that keeps what is sent in `folder`, of whoever shows a certificate; its port."""
    folder.mkdir()
    port = free_port()
    certificate, key = authority.issue("storescp")
    process = subprocess.Popen(
        ["storescp", "+tls", key, certificate, "+cf", authority.ca, "-rc", "-od", folder, str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until_it_listens(process, port)
        yield port
    finally:
        process.terminate()
        process.wait(60)


@needs_dcmtk
def test_a_move_and_the_command_reach_dcmtk_under_tls(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("gateway")
    tls = {"tls_ca": authority.ca, "tls_certificate": certificate, "tls_key": key}
    with storescp(tmp_path / "there", authority) as port:
        third = {"ae_title": "THIRD", "host": "127.0.0.1", "port": port}
        destinations = [{**third, **tls}, {**third, "ae_title": "PLAIN"}]
        with open_house(tmp_path / "house", destinations=destinations) as house:
            house.keep(ct(1, 1))
            ae = AE("PEER")
            ae.add_requested_context(STUDY_MOVE)
            association = ae.associate(*house.stage.place)
            asked = Dataset()
            asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", STUDY
            moved = list(association.send_c_move(asked, "THIRD", STUDY_MOVE))[-1][0].Status
            plain = list(association.send_c_move(asked, "PLAIN", STUDY_MOVE))[-1][0].Status
            association.release()
        command = [sys.executable, "-m", "drimbox", "send", "--to", f"127.0.0.1:{port}", "--aet", "THIRD"]
        options = ["--tls-ca", authority.ca, "--tls-certificate", certificate, "--tls-key", key]
        file = write(tmp_path / "2.dcm", ct(1, 2))
        done = subprocess.run([*command, *options, file], capture_output=True, text=True, timeout=120)
        wrong = subprocess.run([*command, "--tls-key", key, file], capture_output=True, text=True, timeout=120)
    assert (moved, plain) == (0x0000, 0xA702)
    assert (done.returncode, done.stdout) == (0, "1 sent\n"), done.stderr
    assert (wrong.returncode, "tls_certificate" in wrong.stderr) == (2, True)
    there = sorted(dcmread(path).SOPInstanceUID for path in (tmp_path / "there").iterdir())
    assert there == [f"{STUDY}.1.1", f"{STUDY}.1.2"]


def test_the_pacs_of_the_configuration_is_called_as_it_says(tmp_path: Path) -> None:
    pacs = Pacs(host="pacs.local", tls_ca=tmp_path / "ca.pem", tls_name="pacs.example.org")
    assert (pacs.place.tls_ca, pacs.place.tls_name, pacs.place.port) == (tmp_path / "ca.pem", "pacs.example.org", 104)
    for wrong in (
        {"tls_certificate": "a"},
        {"tls_key": "a"},
        {"tls_certificate": "a", "tls_key": "b"},
        {"tls_name": "x"},
    ):
        with pytest.raises(ValueError, match="tls_"):
            Pacs(host="pacs.local", **wrong)  # type: ignore[arg-type]
