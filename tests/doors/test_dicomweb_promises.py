"""The DICOMweb door: trail, spoiled bytes, visits, slow readers."""

import asyncio
import http.client
import socket
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pydicom
import pytest
from dicomweb_stage import ANY_SYNTAX, ROOT, STUDY, Box, big_instance, path_of, renamed, spoil

from drimbox.dicomweb.door import DicomWeb
from drimbox.errors import Unavailable
from drimbox.portal import listener


def test_every_access_is_traced_and_searches_without_values(tmp_path: Path, originals: dict[str, bytes]) -> None:
    with closing(Box(tmp_path)) as box:
        box.keep(originals["ct"])
        box.get("/studies?PatientName=ESSAI*")
        for _ in range(3):  # one trace covers them
            box.get(f"{path_of('ct')}/frames/1")
        box.get(f"{path_of('ct')}/metadata")
        box.get("/studies/1.2.3")
        search, frame, metadata, unknown = box.traces()
    assert (search["action"], search["detail"]) == ("search", "study: 00100010")
    assert (frame["action"], frame["study_uid"], frame["who"]) == ("retrieve", STUDY, "loopback")
    assert (frame["detail"], metadata["detail"]) == (f"frames {STUDY}.1", f"metadata {STUDY}.1")
    assert unknown["study_uid"] == "1.2.3"


def test_no_trail_no_access(tmp_path: Path, originals: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes) -> None:
        raise Unavailable("trail", "cannot be written")

    with closing(Box(tmp_path)) as box:
        box.keep(originals["ct"])
        monkeypatch.setattr(box.trail._log, "append", fail)
        for path in (
            "/studies",
            "/studies?PatientID=NOBODY",
            "/studies?StudyDescription=*t*",
            path_of("ct"),
            f"{path_of('ct')}/metadata",
            f"{path_of('ct')}/frames/1",
        ):
            reply = box.get(path)
            assert (reply.status, reply.headers["retry-after"]) == (503, "5")
            assert set(reply.json) == {"type", "title", "status", "detail", "incident"}


def test_spoiled_bytes_are_never_served_as_good(tmp_path: Path, originals: dict[str, bytes]) -> None:
    with closing(Box(tmp_path)) as box:
        box.keep(originals["ct"])
        box.keep(big_instance(1, 5))
        big = f"/studies/{STUDY}/series/{STUDY}.20/instances/{STUDY}.20.1"
        spoil(box, path_of("ct"), 400)
        spoil(box, big, 1000)
        for path in (path_of("ct"), f"{path_of('ct')}/frames/1", f"{big}/frames/5"):
            reply = box.get(path)
            assert (reply.status, reply.headers["content-type"]) == (500, "application/problem+json")
            assert set(reply.json) == {"type", "title", "status", "incident"}
        assert box.get(f"{big}/frames/1").status == 200
        # The first chunks of the large one have left when the fault is seen: the answer is broken off.
        with pytest.raises(http.client.IncompleteRead):
            box.get(big)


def test_a_visit_shows_one_study_only(tmp_path: Path, originals: dict[str, bytes]) -> None:
    with closing(Box(tmp_path, only_study="1.2.250.1.999.2")) as box:
        box.keep(originals["ct"])
        other = pydicom.dcmread(BytesIO(originals["ct"]))
        visited = renamed(other, 30, 1).replace(STUDY.encode() + b"\x00", b"1.2.250.1.999.2\x00")
        box.keep(visited)
        assert [s["0020000D"]["Value"] for s in box.get("/studies").json] == [["1.2.250.1.999.2"]]
        assert box.get(f"/studies?StudyInstanceUID={STUDY}").json == []
        assert box.get(f"/studies/{STUDY}/series").json == []
        assert box.get(path_of("ct")).status == 404
        assert box.get(f"{path_of('ct')}/frames/1").status == 404
        assert box.get(f"/studies/{STUDY}/metadata").status == 404
        assert box.get("/studies/1.2.250.1.999.2").status == 200


def a_scope(path: str, root_path: str = "") -> dict[str, Any]:
    """A request as a server tells it to the application."""
    return {
        "type": "http", "method": "GET", "path": path, "root_path": root_path, "query_string": b"",
        "headers": [(b"accept", f"application/json, {ANY_SYNTAX}".encode())], "client": ("127.0.0.1", 1),
    }  # fmt: skip


async def test_a_stream_stops_when_nobody_reads_and_holds_one_chunk_at_a_time(box: Box) -> None:
    sent: list[int] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if sent:
            await gone.wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(len(message.get("body", b"")))
        if len(sent) == 3:
            gone.set()
        await asyncio.sleep(0)

    await DicomWeb(box.retrieve, ROOT)(a_scope(f"/studies/{STUDY}/series/{STUDY}.20"), receive, send)
    assert 3 <= len(sent) < 9  # nine chunks of a MiB make the three instances
    assert max(sent) < 2**20 + 1000


async def test_a_caller_who_never_reads_is_dropped(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "PACE_S", 0.1)
    sent: list[int] = []
    ended = asyncio.Event()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def counted(message: Any) -> None:
            await send(message)
            sent.append(len(message.get("body", b"")))

        await DicomWeb(box.retrieve, ROOT)(scope, receive, counted)
        ended.set()

    server = listener.Listener(watched, "127.0.0.1", 0)
    server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**14)
    await server.open()
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
        reader.connect(server.address)
        reader.sendall(f"GET /studies/{STUDY}/series/{STUDY}.20 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(60):
            await ended.wait()
    await server.close()
    assert sum(sent) < 4 * 2**20  # of nine


async def test_it_answers_wherever_it_is_mounted(box: Box) -> None:
    for path, root_path in (("/visits/7/dicom-web/studies", "/visits/7/dicom-web"), ("/studies", "")):
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        await DicomWeb(box.retrieve, ROOT)(a_scope(path, root_path), send, send)  # type: ignore[arg-type]
        assert sent[0]["status"] == 200
        assert orjson.loads(sent[1]["body"])[0]["00081190"]["Value"] == [f"{ROOT}/studies/{STUDY}"]


async def test_two_hundred_readers_at_once_are_all_served(box: Box) -> None:
    async def read(number: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", box.port)
        path = f"/studies/{STUDY}/series/{STUDY}.20/instances/{STUDY}.20.{number % 3 + 1}/frames/{number % 5 + 1}"
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: b\r\nConnection: close\r\nAccept: application/octet-stream\r\n\r\n".encode()
        )
        content = await reader.read()
        writer.close()
        await writer.wait_closed()
        return content.partition(b"\r\n\r\n")[2]

    for number, content in enumerate(await asyncio.gather(*map(read, range(200)))):
        assert content == bytes([number % 5 + 1]) * (512 * 512 * 2)
