"""dcmjs-dimse, a DIMSE of another language and another author, at the door: every service it has that we have."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from making import ct

sys.path.append(str(Path(__file__).parent))
from dicom_query_stage import House, open_house

from drimbox.sandbox.nodes import free_port

PEERS = Path(__file__).resolve().parents[1] / "peers"
NODE = shutil.which("node")
ROOT = "1.2.826.0.1.3680043.8.498.5"

pytestmark = pytest.mark.skipif(
    NODE is None or not (PEERS / "node_modules/dcmjs-dimse").is_dir(),
    reason="Node.js or tests/peers/node_modules is not here: scripts/test installs it where npm is",
)


def ask(house: House, operation: str, *rest: str, calling: str = "JAVASCRIPT") -> list[dict[str, Any]]:
    """What one operation of dcmjs-dimse is answered, in order."""
    host, port = house.stage.place
    command = [str(NODE), "dimse.js", operation, host, str(port), calling, *rest]
    done = subprocess.run(command, cwd=PEERS, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def destination() -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """A C-STORE SCP of dcmjs-dimse."""
    port = free_port()
    command = [str(NODE), "dimse.js", "serve", "127.0.0.1", str(port)]
    process = subprocess.Popen(command, cwd=PEERS, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and json.loads(process.stdout.readline()) == {"listening": port}
        yield port, process
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path) as house:
        yield house


def fill(house: House) -> dict[str, str]:
    """Two studies; the digest of the pixels of the first one's instances."""
    kept = {}
    for study, name in ((f"{ROOT}.1", "ŒUVRARD^Zoé"), (f"{ROOT}.2", "MARTIN^Anne")):
        for number in (1, 2, 3):
            made = ct(1, number, study, SpecificCharacterSet="ISO_IR 192", PatientName=name)
            house.keep(made)
            if study == f"{ROOT}.1":
                kept[made.SOPInstanceUID] = hashlib.sha256(made.PixelData).hexdigest()
    return kept


def test_it_echoes(house: House) -> None:
    assert ask(house, "echo") == [{"status": 0, "elements": {}}]


def test_it_stores(house: House, tmp_path: Path) -> None:
    files = []
    for number in (1, 2):
        made = ct(1, number, f"{ROOT}.3")
        files.append(tmp_path / f"{number}.dcm")
        made.save_as(files[-1], enforce_file_format=True)
    answers = ask(house, "store", *map(str, files))
    assert [answer["status"] for answer in answers] == [0, 0]
    assert set(house.kept(f"{ROOT}.3")) == {f"{ROOT}.3.1.1", f"{ROOT}.3.1.2"}


def test_it_finds(house: House) -> None:
    fill(house)
    keys = {"PatientName": "OEUVRARD*", "StudyInstanceUID": "", "NumberOfStudyRelatedInstances": ""}
    *found, last = ask(house, "find", "Study", json.dumps(keys))
    assert last["status"] == 0
    assert [answer["status"] for answer in found] == [0xFF00]
    assert found[0]["elements"]["StudyInstanceUID"] == f"{ROOT}.1"
    assert str(found[0]["elements"]["NumberOfStudyRelatedInstances"]) == "3"
    assert "Zoé" in json.dumps(found[0]["elements"], ensure_ascii=False)


def test_it_gets(house: House) -> None:
    kept = fill(house)
    answers = ask(house, "get", f"{ROOT}.1")
    assert {answer["stored"]: answer["pixels"] for answer in answers if "stored" in answer} == kept
    assert answers[-1]["status"] == 0


def test_it_moves_to_another_of_its_kind(tmp_path: Path) -> None:
    with destination() as (port, process):
        there = [{"ae_title": "THERE", "host": "127.0.0.1", "port": port}]
        with open_house(tmp_path, destinations=there) as house:
            kept = fill(house)
            answers = ask(house, "move", "THERE", f"{ROOT}.1")
            assert answers[-1]["status"] == 0
            unknown = ask(house, "move", "ELSEWHERE", f"{ROOT}.1")
            assert [answer["status"] for answer in unknown] == [0xA801]
        assert process.stdout is not None
        arrived = [json.loads(process.stdout.readline()) for _ in kept]
    assert {each["stored"]: each["pixels"] for each in arrived} == kept
