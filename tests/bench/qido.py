"""QIDO-RS of one archive, beside Orthanc and its DICOMweb plugin: the same studies, the same answers, in one run."""

import argparse
import http.client
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from receivers import HOST, Orthanc, Ours, Running, installed, run

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AIM = 20.0
A_REQUEST = 200
SYLLABLES = [
    "MAR",
    "BER",
    "DU",
    "THO",
    "RO",
    "RI",
    "PE",
    "LE",
    "MO",
    "SI",
    "LAU",
    "MI",
    "GAR",
    "DA",
    "BOIS",
    "NARD",
    "TIN",
    "MAS",
    "CHARD",
    "ROY",
    "REAU",
    "MON",
    "VID",
    "FOUR",
    "NIER",
]


class OrthancWeb(Orthanc):
    """With its DICOMweb plugin."""

    name = "Orthanc"

    def command(self, folder: Path, port: int, http_port: int) -> list[str]:
        command = super().command(folder, port, http_port)
        path = Path(command[-1])
        said = json.loads(path.read_text())
        said |= {"Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}}
        path.write_text(json.dumps(said))
        return command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=50, help="of each question")


def study(number: int, draw: random.Random) -> bytes:
    """A study of one instance without pixels."""
    uid = f"1.2.826.0.1.3680043.10.9999.9.{number}"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID = meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    made.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"{uid}.1.1"
    made.StudyInstanceUID, made.SeriesInstanceUID = uid, f"{uid}.1"
    made.PatientName = f"{''.join(draw.sample(SYLLABLES, 2))}^{draw.choice(['JEAN', 'ANNE', 'LUC', 'LEA'])}"
    made.PatientID, made.AccessionNumber, made.StudyID = f"PAT{number // 3:06}", f"A{number:08}", str(number)
    made.StudyDate = f"{draw.randint(2014, 2024)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}"
    made.StudyTime, made.PatientBirthDate, made.PatientSex = "101010", "19500101", "M"
    made.ReferringPhysicianName, made.StudyDescription, made.Modality = "DOC^A", "TDM TAP", "OT"
    made.SeriesNumber, made.InstanceNumber = 1, 1
    out = BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def send(running: Running, instances: list[bytes]) -> None:
    """By STOW-RS, some hundred at a time."""
    head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    connection = http.client.HTTPConnection(HOST, running.http_port, timeout=300)
    for start in range(0, len(instances), A_REQUEST):
        body = b"".join(head + one + b"\r\n" for one in instances[start : start + A_REQUEST]) + b"--b--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        connection.request("POST", "/dicom-web/studies", body, headers)
        reply = connection.getresponse()
        reply.read()
        if reply.status != 200:
            raise SystemExit(f"STOW-RS was answered {reply.status}")
    connection.close()


def questions(studies: int) -> dict[str, Callable[[random.Random], str]]:
    def day(draw: random.Random) -> str:
        return f"{draw.randint(2014, 2024)}{draw.randint(1, 12):02}"

    def month(draw: random.Random) -> str:
        begun = day(draw)
        return f"StudyDate={begun}01-{begun}28"

    return {
        "Patient ID": lambda draw: f"PatientID=PAT{draw.randrange(studies // 3):06}",
        "accession number": lambda draw: f"AccessionNumber=A{draw.randrange(studies):08}",
        "date range, a month": month,
        "name prefix": lambda draw: f"PatientName={''.join(draw.sample(SYLLABLES, 2))[:5]}*",
    }


def ask(connection: http.client.HTTPConnection, question: str) -> tuple[float, set[str]]:
    """Seconds, and the studies that were found."""
    started = time.perf_counter()
    path = f"/dicom-web/studies?{quote(question, safe='=&*')}&limit=1000"
    connection.request("GET", path, headers={"Accept": "application/dicom+json"})
    body = connection.getresponse().read()
    elapsed = time.perf_counter() - started
    return elapsed, {item["0020000D"]["Value"][0] for item in json.loads(body or b"[]")}


def main(options: argparse.Namespace) -> int:
    receivers = installed([Ours(), OrthancWeb()])
    draw = random.Random(1)
    instances = [study(number, draw) for number in range(options.studies)]
    with tempfile.TemporaryDirectory() as root, ExitStack() as stack:
        running = {one.name: stack.enter_context(run(one, Path(root) / one.name)) for one in receivers}
        for name, one in running.items():
            started = time.perf_counter()
            send(one, instances)
            print(f"{name}: {options.studies} studies sent in {time.perf_counter() - started:.1f} s", flush=True)
        callers = {name: http.client.HTTPConnection(HOST, one.http_port, timeout=60) for name, one in running.items()}
        for title, question in questions(options.studies).items():
            _compare(title, question, callers, options.rounds)
    return 0


def _compare(
    title: str,
    question: Callable[[random.Random], str],
    callers: dict[str, http.client.HTTPConnection],
    rounds: int,
) -> None:
    draw = random.Random(2)
    times: dict[str, list[float]] = {name: [] for name in callers}
    found, differed = 0, 0
    for number in range(rounds):
        asked = question(draw)
        names = list(callers)[:: 1 if number % 2 else -1]
        answers = {}
        for name in names:
            elapsed, answers[name] = ask(callers[name], asked)
            times[name].append(elapsed)
        found += len(next(iter(answers.values())))
        differed += any(answer != answers[names[0]] for answer in answers.values())
    medians = {name: statistics.median(one) * 1e3 for name, one in times.items()}
    said = ", ".join(f"{name} {ms:.2f} ms" for name, ms in medians.items())
    ours, *others = medians.values()
    ratio = "".join(f" ({other / ours:.1f} times; aim {AIM:.0f})" for other in others)
    print(f"{title}: {found / rounds:.1f} studies, {differed} answers differ: {said}{ratio}", flush=True)
