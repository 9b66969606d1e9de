"""A multi-frame instance far larger than the memory of the node goes in and out: 1 GiB here.

DRIMBOX_TEST_HUGE_GIB=8 for the full size; it needs more than that much disk, and a few minutes.
"""

import asyncio
import hashlib
import http.client
import os
import re
import resource
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import ct, data_set_bytes
from measures import peak_mib
from network import Site, get, running

sys.path.append(str(Path(__file__).parents[1] / "doors"))
from raw_scu import CT, RawScu

from drimbox.dicom.command import C_STORE_RQ, Command, build_command
from drimbox.dicom.part10 import InMemory, read_preface
from drimbox.dicom.pdu import build_data

GIB = int(os.environ.get("DRIMBOX_TEST_HUGE_GIB", "1"))
MEMORY_BYTES = 512 * 2**20
FRAME_BYTES = 32 * 2**20  # a native Pixel Data element holds less than 4 GiB; fragments have no such end
FRAMES = GIB * 2**30 // FRAME_BYTES
JPEG_2000 = "1.2.840.10008.1.2.4.90"
PDU_BYTES = 131072
PIECE_BYTES = PDU_BYTES - 6


def pieces(header: bytes, frame: memoryview) -> Iterator[bytes | memoryview]:
    """The data set, in pieces that fit a PDU each: every frame the same but for its number."""
    yield header + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + b"\xfe\xff\0\xe0\0\0\0\0"
    for number in range(1, FRAMES + 1):
        yield b"\xfe\xff\0\xe0" + struct.pack("<I", FRAME_BYTES) + struct.pack("<Q", number)
        for start in range(8, FRAME_BYTES, PIECE_BYTES):
            yield frame[start : start + PIECE_BYTES]
    yield b"\xfe\xff\xdd\xe0\0\0\0\0"


def send(place: tuple[str, int], sop_uid: str, header: bytes, frame: memoryview) -> tuple[int, str, int]:
    """Status, digest and length of the data set, which never lies in memory."""
    digest, length = hashlib.sha256(), 0
    with RawScu(place, 600) as scu:
        scu.associate([(CT, [JPEG_2000])])
        command = Command(C_STORE_RQ, 1, CT, sop_uid, has_data_set=True, priority=0)
        scu.send(b"".join(build_data(1, build_command(command), True, 0)))
        waiting: bytes | memoryview | None = None
        for piece in pieces(header, frame):
            digest.update(piece)
            length += len(piece)
            if waiting is not None:
                send_piece(scu, waiting, is_last=False)
            waiting = piece
        assert waiting is not None
        send_piece(scu, waiting, is_last=True)
        return scu.response().status or 0, digest.hexdigest(), length


def send_piece(scu: RawScu, piece: bytes | memoryview, *, is_last: bool) -> None:
    head = struct.pack(">BBIIBB", 4, 0, len(piece) + 6, len(piece) + 2, 1, 2 * is_last)
    scu.send(head + bytes(piece))


def fetch(site: Site, uids: tuple[str, str, str], length: int) -> str:
    """Digest of the data set that WADO-RS gives, read as it comes."""
    connection = http.client.HTTPConnection("127.0.0.1", site.node.http_port, timeout=600)
    path = "/dicom-web/studies/{}/series/{}/instances/{}".format(*uids)
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    connection.request("GET", path, headers={"Accept": accept})
    answer = connection.getresponse()
    assert answer.status == 200
    start = answer.read(4096)
    start = start[start.index(b"\r\n\r\n") + 4 :]
    start = start[read_preface(InMemory(start)).data_set_offset :]
    digest, left = hashlib.sha256(start), length - len(start)
    while left:
        block = answer.read(min(left, 2**20))
        assert block, "the answer ends too soon"
        digest.update(block)
        left -= len(block)
    connection.close()
    return digest.hexdigest()


async def test_a_huge_multi_frame_flows_through(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < (GIB + 4) * 2**30:
        pytest.skip(f"needs {GIB + 4} GiB of disk")
    made = ct(NumberOfFrames=FRAMES, PixelData=None)
    header, frame = data_set_bytes(made), memoryview(os.urandom(FRAME_BYTES))
    async with running(tmp_path) as site:
        assert site.node.process is not None
        pid = site.node.process.pid
        resource.prlimit(pid, resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))  # an allocation beyond it fails
        place = ("127.0.0.1", site.node.dicom_port)
        before = peak_mib(pid)
        status, digest, length = await asyncio.to_thread(send, place, made.SOPInstanceUID, header, frame)
        assert status == 0
        assert length > GIB * 2**30
        after = peak_mib(pid)
        uids = (made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID)
        assert await asyncio.to_thread(fetch, site, uids, length) == digest
        url = f"{site.node.url}/dicom-web/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}/frames/{FRAMES}"
        accept = 'multipart/related; type="image/jp2"; transfer-syntax=*'
        status, body = await asyncio.to_thread(get, url, accept)
        assert status == 200
        assert re.search(re.escape(struct.pack("<Q", FRAMES) + bytes(frame[8:64])), body)
        print(f"{GIB} GiB: peak {before:.0f} MiB before, {after:.0f} after C-STORE, {peak_mib(pid):.0f} after WADO-RS")
        assert after - before < 64
        assert peak_mib(pid) < 512
