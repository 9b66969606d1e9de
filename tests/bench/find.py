"""C-FIND of one study among many: how long its answer takes, over one association that stays open.

Our node holds 100,000 studies; a peer that takes long to fill holds fewer, and says so.
"""

import argparse
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from corpus import header_study_uid, label, make_headers
from receivers import Orthanc, Ours, Receiver, Running, installed, run
from replay import build_stream, expect, replay
from table import quantile, render

from drimbox.dicom.command import C_FIND_RQ, Command, build_command, read_command
from drimbox.dicom.pdu import (
    LAST,
    PDV_HEADER,
    AssociateRequest,
    Pdu,
    ProposedContext,
    build_associate_request,
    build_data,
    build_release_request,
)
from drimbox.dicom.uid import EXPLICIT_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from drimbox.dicom.user_information import UserInformation
from drimbox.dicom.writing import build_data_set

AIM_P50_MS = 10.0
PENDING = (0xFF00, 0xFF01)
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PDU_BYTES = 131072
ASSOCIATIONS = 16  # that fill
WAIT_S = 120.0
STUDY_UID, PATIENT_ID, ACCESSION, NAME, DATE, COUNT = (
    "0020000D", "00100020", "00080050", "00100010", "00080020", "00201208",
)  # fmt: skip
VR = {STUDY_UID: "UI", PATIENT_ID: "LO", ACCESSION: "SH", NAME: "PN", DATE: "DA", COUNT: "IS"}

KINDS: dict[str, Callable[[int], tuple[str, str]]] = {
    "StudyInstanceUID": lambda number: (STUDY_UID, header_study_uid(number)),
    "PatientID": lambda number: (PATIENT_ID, label(number)),
    "AccessionNumber": lambda number: (ACCESSION, label(number)),
    "PatientName, FAMILY^*": lambda number: (NAME, f"{label(number)}^*"),
    "PatientName, *part*": lambda number: (NAME, f"*{label(number)[1:]}*"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--studies", type=int, default=100_000, help="in our node (default 100000)")
    parser.add_argument("--peer-studies", type=int, default=10_000, help="in the peer (default 10000)")
    parser.add_argument("--asks", type=int, default=300, help="queries of each kind (default 300)")
    parser.add_argument("--receivers", default="DRIMbox,Orthanc")
    parser.add_argument("--folder", type=Path, help="work inside this one (default: the system's temporary folder)")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--markdown", action="store_true", help="print the table for the documentation")


def main(options: argparse.Namespace) -> int:
    share = 10 if options.quick else 1
    rows = []
    with tempfile.TemporaryDirectory(prefix="drimbox-bench-", dir=options.folder) as name:
        folder = Path(name)
        for receiver in installed([Ours(), Orthanc()]):
            if receiver.name in options.receivers.split(","):
                studies = (options.studies if isinstance(receiver, Ours) else options.peer_studies) // share
                with run(receiver, folder / receiver.name) as running:
                    _fill(folder / "headers.bin", receiver, running, studies)
                    rows += _ask_all(receiver, running, studies, options.asks // share)
    head = ["receiver", "studies", "asked by", "p50 ms", "p99 ms", ""]
    print("\n" + render(head, rows, markdown=options.markdown))
    return 0


def _fill(file: Path, receiver: Receiver, running: Running, studies: int) -> None:
    stream = build_stream(file, make_headers(studies, a_study=1))
    done = replay(stream, running.place, ASSOCIATIONS)
    file.unlink()
    held = receiver.count(running, studies)
    if held != studies:
        raise RuntimeError(f"{receiver.name} holds {held} of {studies} studies")
    print(f"  {receiver.name} filled with {studies} studies at {studies / done.seconds:.0f} a second", flush=True)


def _ask_all(receiver: Receiver, running: Running, studies: int, asks: int) -> list[Sequence[str]]:
    rows = []
    with socket.create_connection(running.place, WAIT_S) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = ProposedContext(1, STUDY_ROOT_FIND, (EXPLICIT_LITTLE_ENDIAN,))
        user = UserInformation(PDU_BYTES, "1.2.3.4")
        peer.sendall(build_associate_request(AssociateRequest("BENCH", "ASKER", (context,), user)))
        expect(peer, Pdu.ASSOCIATE_AC)
        for kind, key in KINDS.items():
            times = []
            for turn in range(asks + 1):  # the first is not counted
                tag, value = key(1 + (turn * 7919) % studies)
                start = time.perf_counter()
                found = _ask(peer, tag, value)
                times.append((time.perf_counter() - start) * 1000)
                if found != 1:
                    raise RuntimeError(f"{receiver.name} found {found} studies by {kind}")
            times = sorted(times[1:])
            p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
            said = (
                "" if not isinstance(receiver, Ours) else f"aim {AIM_P50_MS:g}{'' if p50 < AIM_P50_MS else ', MISSED'}"
            )
            rows.append([receiver.name, str(studies), kind, f"{p50:.2f}", f"{p99:.2f}", said])
        peer.sendall(build_release_request())
        expect(peer, Pdu.RELEASE_RP)
    return rows


def _ask(peer: socket.socket, tag: str, value: str) -> int:
    """One C-FIND at the study level; how many matches came back."""
    answer = {name: {"vr": vr} for name, vr in VR.items()}
    answer["00080052"] = {"vr": "CS", "Value": ["STUDY"]}
    answer[tag] = {"vr": VR[tag], "Value": [{"Alphabetic": value} if tag == NAME else value]}
    identifier = build_data_set(answer, TRANSFER_SYNTAXES[EXPLICIT_LITTLE_ENDIAN])
    command = build_command(Command(C_FIND_RQ, 1, STUDY_ROOT_FIND, has_data_set=True, priority=0))
    pdus = [*build_data(1, command, True, PDU_BYTES), *build_data(1, identifier, False, PDU_BYTES)]
    peer.sendall(b"".join(pdus))
    found, left = 0, b""
    while True:
        data, left = _message(peer, left)
        response = read_command(data)
        if response.status not in PENDING:
            if response.status != 0:
                raise RuntimeError(f"status {response.status}")
            return found
        _, left = _message(peer, left)
        found += 1


def _message(peer: socket.socket, left: bytes) -> tuple[bytes, bytes]:
    """The next command set or data set, joined from its fragments, and what is left of the last PDU."""
    data, control = b"", 0
    while not control & LAST:
        left = left or expect(peer, Pdu.DATA)
        length, _, control = PDV_HEADER.unpack_from(left)
        data += left[PDV_HEADER.size : length + 4]
        left = left[length + 4 :]
    return data, left
