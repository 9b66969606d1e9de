"""QIDO-RS of one archive, beside Orthanc and its DICOMweb plugin: the same studies, the same answers, in one run.

Each question is asked of both in turn, by one caller and then by several at once; the answers are compared. With
--alone only our node is filled, for more studies than a peer takes in a minute.
"""

import argparse
import http.client
import json
import multiprocessing
import random
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from receivers import HOST, Orthanc, Ours, Running, installed, run
from table import quantile, render

from drimbox.dicom.part10 import build_preface
from drimbox.dicom.uid import EXPLICIT_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from drimbox.dicom.writing import build_data_set

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AIM, AIM_P50_MS, MANY = 20.0, 2.0, 100_000
A_REQUEST = 200
IDLE_S = 8  # longer than our node rests between two looks
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
Question = Callable[[random.Random], str]
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
    parser.add_argument("--rounds", type=int, default=100, help="of each question (default 100)")
    parser.add_argument("--callers", type=int, default=4, help="at once, in the second part (default 4)")
    parser.add_argument("--alone", action="store_true", help="our node only")
    parser.add_argument("--folder", type=Path, help="keep what was loaded here, for another run")
    parser.add_argument("--load-only", action="store_true", help="load into --folder, ask nothing")
    parser.add_argument("--markdown", action="store_true", help="print the table for the documentation")


def study(number: int, draw: random.Random) -> bytes:
    """A study of one instance without pixels."""
    uid = f"1.2.826.0.1.3680043.10.9999.9.{number}"
    name = f"{''.join(draw.sample(SYLLABLES, 2))}^{draw.choice(['JEAN', 'ANNE', 'LUC', 'LEA'])}"
    date = f"{draw.randint(2014, 2024)}{draw.randint(1, 12):02}{draw.randint(1, 28):02}"
    values = {
        "00080016": ("UI", SECONDARY_CAPTURE), "00080018": ("UI", f"{uid}.1.1"), "00080020": ("DA", date),
        "00080030": ("TM", "101010"), "00080050": ("SH", f"A{number:08}"), "00080060": ("CS", "OT"),
        "00080090": ("PN", {"Alphabetic": "DOC^A"}), "00081030": ("LO", "TDM TAP"),
        "00100010": ("PN", {"Alphabetic": name}), "00100020": ("LO", f"PAT{number // 3:06}"),
        "00100030": ("DA", "19500101"), "00100040": ("CS", "M"), "0020000D": ("UI", uid),
        "0020000E": ("UI", f"{uid}.1"), "00200010": ("SH", str(number)), "00200011": ("IS", 1), "00200013": ("IS", 1),
    }  # fmt: skip
    data_set = {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items()}
    preface = build_preface(SECONDARY_CAPTURE, f"{uid}.1.1", EXPLICIT_LITTLE_ENDIAN)
    return preface + build_data_set(data_set, TRANSFER_SYNTAXES[EXPLICIT_LITTLE_ENDIAN])


def send(running: Running, instances: Iterator[bytes]) -> None:
    """By STOW-RS, some hundred at a time."""
    head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    connection = http.client.HTTPConnection(HOST, running.http_port, timeout=300)
    while some := list(islice(instances, A_REQUEST)):
        body = b"".join(head + one + b"\r\n" for one in some) + b"--b--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        connection.request("POST", "/dicom-web/studies", body, headers)
        reply = connection.getresponse()
        reply.read()
        if reply.status != 200:
            raise SystemExit(f"STOW-RS was answered {reply.status}")
    connection.close()


def questions(studies: int) -> dict[str, Question]:
    def month(draw: random.Random) -> str:
        begun = f"{draw.randint(2014, 2024)}{draw.randint(1, 12):02}"
        return f"StudyDate={begun}01-{begun}28"

    return {
        "study UID": lambda draw: f"StudyInstanceUID=1.2.826.0.1.3680043.10.9999.9.{draw.randrange(studies)}",
        "Patient ID": lambda draw: f"PatientID=PAT{draw.randrange(studies // 3):06}",
        "accession number": lambda draw: f"AccessionNumber=A{draw.randrange(studies):08}",
        "date range, a month": month,
        "name prefix": lambda draw: f"PatientName={''.join(draw.sample(SYLLABLES, 2))[:5]}*",
    }


class Caller:
    """One connection, kept, of a client that costs next to nothing: what is measured is the server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"Host: {HOST}:{port}\r\nAccept: application/dicom+json\r\n\r\n"

    def ask(self, question: str, limit: int) -> tuple[float, bytes]:
        """Milliseconds to the last byte, and the answer."""
        path = f"/dicom-web/studies?{quote(question, safe='=&*')}&limit={limit}"
        asked = f"GET {path} HTTP/1.1\r\n{self._head}".encode()
        started = time.perf_counter()
        self._socket.sendall(asked)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._received()
        head, _, begun = data.partition(b"\r\n\r\n")
        told = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if not head.startswith(b"HTTP/1.1 20") or told is None:
            raise SystemExit(head.decode("latin-1"))
        parts, left = [begun], int(told[1]) - len(begun)
        while left > 0:
            parts.append(self._received())
            left -= len(parts[-1])
        elapsed = (time.perf_counter() - started) * 1000
        return elapsed, b"".join(parts)

    def _received(self) -> bytes:
        piece = self._socket.recv(2**20)
        if not piece:
            raise SystemExit("the server closed the connection")
        return piece


def studies_of(answer: bytes) -> set[str]:
    return {item["0020000D"]["Value"][0] for item in json.loads(answer or b"[]")}


def main(options: argparse.Namespace) -> int:
    receivers = [Ours()] if options.alone else installed([Ours(), OrthancWeb()])
    rows = []
    # A page: all that matches where both answer; the usual hundred where so many studies are held.
    limit = 100 if options.studies >= MANY else 1000
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        root = options.folder or Path(temporary)
        has_all = {one.name: (root / one.name / "data").exists() for one in receivers}
        running = {one.name: stack.enter_context(run(one, root / one.name, keep=True)) for one in receivers}
        for name, one in running.items():
            if not has_all[name]:
                _load(name, one, options.studies)
            _wait_until_idle(one)
        if options.load_only:
            return 0
        for title, question in questions(options.studies).items():
            rows += _in_turn(title, question, running, options.rounds, limit)
        for title, question in questions(options.studies).items():
            rows += _at_once(title, question, running, options, limit)
    head = ["asked by", "callers", "receiver", "found", "p50 ms", "p99 ms", ""]
    print("\n" + render(head, rows, markdown=options.markdown))
    return 0


def _load(name: str, running: Running, studies: int) -> None:
    started, draw = time.perf_counter(), random.Random(1)
    send(running, (study(number, draw) for number in range(studies)))
    print(f"{name}: {studies} studies sent in {time.perf_counter() - started:.1f} s", flush=True)


def _wait_until_idle(running: Running) -> None:
    """What a server does once instances have come, ours writes their metadata ahead, is over."""
    is_idle = 0
    while is_idle < IDLE_S:
        before = running.cpu_s()
        time.sleep(1)
        is_idle = is_idle + 1 if running.cpu_s() - before < 0.1 else 0


def _in_turn(title: str, question: Question, running: dict[str, Running], rounds: int, limit: int) -> list[list[str]]:
    """One caller asks each of them the same; the order changes each time. The first five are not counted."""
    callers = {name: Caller(one.http_port) for name, one in running.items()}
    times: dict[str, list[float]] = {name: [] for name in callers}
    draw = random.Random(2)
    found, differed = 0, 0
    for number in range(rounds + 5):
        asked = question(draw)
        answers = {}
        for name in list(callers)[:: 1 if number % 2 else -1]:
            elapsed, answer = callers[name].ask(asked, limit)
            answers[name] = studies_of(answer)
            times[name] += [elapsed] if number >= 5 else []
        found += len(answers[Ours.name])
        differed += any(answer != answers[Ours.name] for answer in answers.values())
    if differed:
        raise SystemExit(f"{title}: {differed} answers differ")
    return _rows(title, 1, f"{found / (rounds + 5):.1f}", times)


def _at_once(
    title: str, question: Question, running: dict[str, Running], options: argparse.Namespace, limit: int
) -> list[list[str]]:
    """Several callers, each a process, ask one of them at the same time."""
    context = multiprocessing.get_context("fork")
    times: dict[str, list[float]] = {}
    for name, one in running.items():
        said = context.SimpleQueue()
        work = [(said, one.http_port, question, seed, options.rounds, limit) for seed in range(options.callers)]
        processes = [context.Process(target=_ask_all, args=args) for args in work]
        for process in processes:
            process.start()
        times[name] = [elapsed for _ in processes for elapsed in said.get()]
        for process in processes:
            process.join()
    return _rows(title, options.callers, "", times)


def _ask_all(said, port: int, question: Question, seed: int, rounds: int, limit: int) -> None:  # type: ignore[no-untyped-def]
    """The process of one caller."""
    times: list[float] = []
    try:
        caller, draw = Caller(port), random.Random(seed)
        times += (caller.ask(question(draw), limit)[0] for _ in range(rounds))
    finally:
        said.put(times)


def _rows(title: str, callers: int, found: str, times: dict[str, list[float]]) -> list[list[str]]:
    p50 = {name: quantile(sorted(one), 0.5) for name, one in times.items()}
    rows = []
    for name, one in times.items():
        said = f"DRIMbox x{p50[name] / p50[Ours.name]:.1f}, aim {AIM:g}" if name != Ours.name else ""
        if len(times) == 1:
            said = f"aim {AIM_P50_MS:g}"
        rows.append([title, str(callers), name, found, f"{p50[name]:.2f}", f"{quantile(sorted(one), 0.99):.2f}", said])
    return rows
