"""A thousand associations at a real node, two hundred of them sending; then one more, and one of somebody else."""

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from making import STUDY, ct, data_set_bytes
from measures import resident_mib, sockets, threads, want_descriptors
from network import eventually, get, running

sys.path.append(str(Path(__file__).parent))
from raw_scu import CT, EXPLICIT, RawScu, build_request, build_store

from drimbox.dicom.pdu import Pdu

HELD, SENDING, EACH = 1000, 200, 3
LIMIT_EXCEEDED = (Pdu.ASSOCIATE_RJ, bytes((0, 2, 3, 2)))  # transient, presentation, local limit (PS3.8 table 9-21)


def opened(place: tuple[str, int], number: int) -> list[RawScu]:
    def one(_: int) -> RawScu:
        scu = RawScu(place, 60)
        scu.associate()
        return scu

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(one, range(number)))


def asked(place: tuple[str, int], calling: str) -> tuple[Pdu, bytes] | None:
    with RawScu(place, 60) as scu:
        scu.send(build_request([(CT, [EXPLICIT])], calling))
        return scu.receive()


def send(scus: list[RawScu]) -> int:
    """Each sends its instances one after the other, all of them at the same time; how many were stored."""
    begin = threading.Barrier(16)

    def some(first: int) -> int:
        begin.wait(60)
        stored = 0
        for number in range(1, EACH + 1):  # all of a thread's are under way together
            for index in range(first, len(scus), 16):
                made = ct(series=index + 1, number=number)
                scus[index].send(build_store(1, CT, made.SOPInstanceUID, data_set_bytes(made)))
            stored += sum(scus[index].response().status == 0 for index in range(first, len(scus), 16))
        return stored

    with ThreadPoolExecutor(16) as pool:
        return sum(pool.map(some, range(16)))


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_thousand_associations(tmp_path: Path, workers: int) -> None:
    want_descriptors(HELD + 200)
    async with running(tmp_path, node={"workers": workers}) as site:
        assert site.node.process is not None
        pid, place = site.node.process.pid, ("127.0.0.1", site.node.dicom_port)
        quiet = sockets(pid)
        warm = await asyncio.to_thread(opened, place, 20)
        assert await asyncio.to_thread(send, warm) == 20 * EACH
        for scu in warm:
            scu.socket.close()
        site_get = f"{site.node.url}/dicom-web/studies/{STUDY}/series?limit=1000"
        before = threads(pid), resident_mib(pid)

        scus = await asyncio.to_thread(opened, place, HELD)
        assert threads(pid) - before[0] < 8  # pools may still grow; none is for a socket that says nothing
        assert resident_mib(pid) - before[1] < 60
        assert await asyncio.to_thread(asked, place, "SCANNER") == LIMIT_EXCEEDED
        other = await asyncio.to_thread(asked, place, "OTHER")
        assert other is not None
        assert other[0] is Pdu.ASSOCIATE_AC  # SCANNER holds them all, which is not OTHER's fault

        assert await asyncio.to_thread(send, scus[:SENDING]) == SENDING * EACH
        status, body = await asyncio.to_thread(get, site_get)
        assert (status, body.count(b'"0020000E"')) == (200, SENDING)
        assert resident_mib(pid) - before[1] < 120

        def echo_all() -> bool:
            return all(scu.echo().status == 0 for scu in scus)

        assert await asyncio.to_thread(echo_all)
        for scu in scus:
            scu.socket.close()
        await eventually(lambda: sockets(pid) == quiet)
        again = await asyncio.to_thread(asked, place, "SCANNER")
        assert again is not None
        assert again[0] is Pdu.ASSOCIATE_AC
