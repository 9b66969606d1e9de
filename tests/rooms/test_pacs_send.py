"""The C-STORE SCU: bytes as they lie in their files, wherever in them; one that fails does not hold up the others."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from making import STUDY, ct, data_set_bytes
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt

from drimbox.dicom.part10 import build_preface
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.errors import DrimboxError, Malformed, NotAcceptable, Unavailable
from drimbox.model import Place
from drimbox.pacs.send import Outgoing, send_files, storing
from drimbox.sandbox.nodes import free_port
from drimbox.settings import Destination

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
OTHER = "1.2.840.10008.5.1.4.1.1.4"


@contextmanager
def archive(
    answer: Any = lambda event: 0x0000, classes: tuple[str, ...] = (CT,), syntaxes: tuple[str, ...] = (EXPLICIT,)
) -> Iterator[tuple[Destination, dict[str, bytes]]]:
    received: dict[str, bytes] = {}

    def store(event: Any) -> int:
        received[event.request.AffectedSOPInstanceUID] = event.request.DataSet.getvalue()
        return answer(event)

    ae = AE("ARCHIVE")
    for sop_class in classes:
        ae.add_supported_context(sop_class, list(syntaxes))
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield Destination(ae_title="ARCHIVE", host="127.0.0.1", port=server.socket.getsockname()[1]), received
    finally:
        server.shutdown()


def write(path: Path, made: Any) -> Path:
    made.save_as(path, enforce_file_format=True)
    return path


async def outcomes(files: list[Path], place: Destination) -> dict[str, int | DrimboxError]:
    said: dict[str, int | DrimboxError] = {}
    await send_files(files, place, "SENDER", lambda path, outcome: said.__setitem__(path.name, outcome))
    return said


async def test_an_object_inside_a_larger_file_goes_alone(tmp_path: Path) -> None:
    made = ct(PixelData=bytes(3 * 2**20))  # more than one block
    data_set = data_set_bytes(made)
    (tmp_path / "pack").write_bytes(b"before" + b"\x02preface" + data_set + b"after")
    place = Place(tmp_path / "pack", 6, 8 + len(data_set))
    with archive() as (there, received):
        async with storing(there, "SENDER", [(CT, EXPLICIT)], ("ASKED", 7)) as send:
            outgoing = Outgoing(CT, made.SOPInstanceUID, EXPLICIT, place, 8)
            assert await send(outgoing) == 0x0000
            assert await send(Outgoing(OTHER, "1.2", EXPLICIT, place, 8)) == 0x0122
    assert received == {made.SOPInstanceUID: data_set}


async def test_one_that_is_refused_does_not_hold_up_the_others(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not DICOM")
    bare = tmp_path / "bare"
    bare.write_bytes(data_set_bytes(ct(1, 3)))
    syntax = ct(1, 4)
    syntax.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    files = [tmp_path / "text", write(tmp_path / "one", ct(1, 1)), write(tmp_path / "two", ct(1, 2)), bare]
    files.append(write(tmp_path / "implicit", syntax))
    files.append(tmp_path / "gone")
    statuses = {f"{STUDY}.1.1": 0xA700, f"{STUDY}.1.2": 0xB000}
    with archive(lambda event: statuses.get(event.request.AffectedSOPInstanceUID, 0)) as (there, received):
        said = await outcomes(files, there)
    assert {name: said[name] for name in ("one", "two", "bare")} == {"one": 0xA700, "two": 0xB000, "bare": 0x0000}
    assert isinstance(said["text"], Malformed)
    assert isinstance(said["implicit"], NotAcceptable)
    assert isinstance(said["gone"], DrimboxError)
    assert received[f"{STUDY}.1.3"] == data_set_bytes(ct(1, 3))


async def test_more_kinds_than_an_association_has_contexts(tmp_path: Path) -> None:
    classes = tuple(f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in ("1", "2", "4", "7", "20", "128", "12.1", "12.2"))
    syntaxes = tuple(uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.explicit and syntax.encapsulated)[:20]
    files = []
    for number, (sop_class, syntax) in enumerate(product(classes, syntaxes)):
        made = ct(1, number, SOPClassUID=sop_class)
        files.append(tmp_path / str(number))
        files[-1].write_bytes(build_preface(sop_class, made.SOPInstanceUID, syntax) + data_set_bytes(made))
    with archive(classes=classes, syntaxes=syntaxes) as (there, received):
        said = await outcomes(files, there)
    assert set(said.values()) == {0}
    assert len(said) == len(received) == 160


async def test_an_association_that_ends_ends_the_sending(tmp_path: Path) -> None:
    files = [write(tmp_path / str(number), ct(1, number)) for number in (1, 2, 3)]

    def leave(event: Any) -> int:
        if event.request.AffectedSOPInstanceUID == f"{STUDY}.1.2":
            event.assoc.abort()
        return 0

    said: list[str] = []
    with archive(leave) as (there, _), pytest.raises(Unavailable):
        await send_files(files, there, "SENDER", lambda path, outcome: said.append(path.name))
    assert said == ["1"]


async def test_who_stops_waiting_cuts_the_connection(tmp_path: Path) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def hang(event: Any) -> int:
        loop.call_soon_threadsafe(asked.set)
        event.assoc.dul.join(30)  # ends when the connection does
        loop.call_soon_threadsafe(ended.set)
        return 0

    with archive(hang) as (there, _):
        sending = asyncio.create_task(outcomes([write(tmp_path / "one", ct())], there))
        async with asyncio.timeout(30):
            await asked.wait()
            sending.cancel()
            await ended.wait()
        assert sending.cancelled() or (await asyncio.gather(sending, return_exceptions=True))


STORESCP = Path("/usr/bin/storescp")


def drimbox(*words: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "drimbox", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_command_sends_and_says_how_it_went(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in (1, 2):
        write(folder / f"{number}.dcm", ct(1, number))
    (folder / "DICOMDIR").write_bytes(b"left out")
    with archive() as (there, received):
        done = drimbox("send", "--to", f"127.0.0.1:{there.port}", "--aet", "ARCHIVE", folder)
        assert (done.returncode, done.stdout, done.stderr) == (0, "2 sent\n", "")
        (folder / "notes").write_text("no DICOM")
        done = drimbox("send", "--to", f"127.0.0.1:{there.port}", "--aet", "ARCHIVE", folder)
        assert (done.returncode, done.stdout) == (1, "2 sent, 1 refused\n")
        assert done.stderr.startswith(f"{folder}/notes: ")
    assert received == {f"{STUDY}.1.{number}": data_set_bytes(ct(1, number)) for number in (1, 2)}
    done = drimbox("send", "--to", f"127.0.0.1:{free_port()}", folder)
    assert (done.returncode, done.stdout) == (1, "0 sent, 1 refused, 2 not tried\n")
    assert "no association" in done.stderr
    for to, title in (("127.0.0.1", "A"), ("127.0.0.1:0", "A"), ("127.0.0.1:104", "A" * 17)):
        assert drimbox("send", "--to", to, "--aet", title, folder).returncode == 2


@pytest.mark.skipif(not STORESCP.exists(), reason="DCMTK is not installed")
async def test_dcmtk_receives_what_is_in_the_file(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "got").mkdir()
    process = subprocess.Popen([STORESCP, "+B", "-od", tmp_path / "got", str(port)])
    try:
        there = Destination(ae_title="ARCHIVE", host="127.0.0.1", port=port)
        made = ct(PixelData=bytes(range(256)) * 2)
        async with asyncio.timeout(30):
            while True:
                try:
                    said = await outcomes([write(tmp_path / "one", made)], there)
                    break
                except Unavailable:  # it is not up yet
                    await asyncio.sleep(0.05)
        assert said == {"one": 0}
        (got,) = (tmp_path / "got").iterdir()
        assert got.read_bytes().endswith(data_set_bytes(made))
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(tmp_path / "got")
