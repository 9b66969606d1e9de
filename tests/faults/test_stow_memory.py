"""What is large comes in over HTTP in little memory: an instance of a GiB, and three thousand in one body."""

import asyncio
import hashlib
import http.client
import shutil
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from making import ct
from measures import peak_mib
from network import running

GIB = 2**30
MOST_GROWTH_MIB = 64
PIECE_BYTES = 2**20
BOUNDARY = "cut-here"
PARTS = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
MANY = 3000

pytestmark = pytest.mark.slow


def part10(made: Any) -> bytes:
    buffer = BytesIO()
    made.save_as(buffer)
    return buffer.getvalue()


def huge() -> tuple[Any, bytes]:
    """An instance of 1024 frames of a MiB, and the file up to its pixels, which are nothing but zeros."""
    made = ct(1, 1, "1.2.250.1.999.31", Rows=1024, Columns=512, NumberOfFrames=1024, PixelData=None)
    return made, part10(made) + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, GIB)


def small(number: int) -> Any:
    return ct(1, number, "1.2.250.1.999.32")


def one_body(begin: bytes) -> Iterator[bytes]:
    yield f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + begin
    piece = bytes(PIECE_BYTES)
    for _ in range(GIB // PIECE_BYTES):
        yield piece
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def many_body() -> Iterator[bytes]:
    for number in range(1, MANY + 1):
        yield f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + part10(small(number))
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def post(port: int, body: Callable[[], Iterator[bytes]]) -> tuple[int, dict[str, Any]]:
    """Status and answer. The body goes out as it is made, in chunks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        headers = {"Content-Type": PARTS, "Accept": "application/dicom+json"}
        connection.request("POST", "/dicom-web/studies", body(), headers, encode_chunked=True)
        answer = connection.getresponse()
        return answer.status, orjson.loads(answer.read())
    finally:
        connection.close()


def digest(port: int, made: Any, frame_number: int) -> str:
    path = f"/dicom-web/studies/{made.StudyInstanceUID}/series/{made.SeriesInstanceUID}/instances/{made.SOPInstanceUID}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {"Accept": "application/octet-stream"}
        connection.request("GET", f"{path}/frames/{frame_number}", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        return hashlib.sha256(answer.read()).hexdigest()
    finally:
        connection.close()


async def test_a_gib_and_three_thousand_instances_are_stored_in_little_memory(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 4 * GIB:
        pytest.skip("needs 4 GiB of disk")
    made, begin = huge()
    async with running(tmp_path) as site:
        assert site.node.process is not None
        pid, port = site.node.process.pid, site.node.http_port
        warm = part10(small(MANY + 1))
        first = [f"--{BOUNDARY}\r\n\r\n".encode() + warm, f"\r\n--{BOUNDARY}--\r\n".encode()]
        assert (await asyncio.to_thread(post, port, lambda: iter(first)))[0] == 200
        before = peak_mib(pid)

        status, told = await asyncio.to_thread(post, port, lambda: one_body(begin))
        assert status == 200, told
        after_one = peak_mib(pid)
        frame = await asyncio.to_thread(digest, port, made, 1024)
        assert frame == hashlib.sha256(bytes(GIB // 1024)).hexdigest()

        status, told = await asyncio.to_thread(post, port, many_body)
        assert status == 200
        assert len(told["00081199"]["Value"]) == MANY
        after_many = peak_mib(pid)
        print(f"peak {before:.0f} MiB before, {after_one:.0f} after a GiB, {after_many:.0f} after {MANY} instances")
        assert after_one - before < MOST_GROWTH_MIB
        assert after_many - after_one < MOST_GROWTH_MIB
