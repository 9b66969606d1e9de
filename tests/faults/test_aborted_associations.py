"""Two hundred associations that end in the middle of a PDU leave nothing behind: sockets, threads, memory, spools."""

import asyncio
import os
import socket
import ssl
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from ledger import kept_records
from making import ct, data_set_bytes
from measures import resident_mib, sockets, threads, want_descriptors
from network import eventually, running

sys.path.append(str(Path(__file__).parents[1] / "doors"))
from raw_scu import CT, RawScu, build_store

from drimbox.sandbox.nodes import free_port

ASSOCIATIONS, ROUNDS = 200, 4
WHOLE = build_store(1, CT, "1.2.3.4", os.urandom(300_000))
ABORT = b"\7\0\0\0\0\4\0\0\0\0"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no FIN, a RST


def break_off(scu: RawScu, number: int) -> None:
    """In the middle of a header, of a command, of a data set; by A-ABORT, by closing, or by a reset."""
    scu.send(WHOLE[: (3, 40, 100_000, 250_000)[number % 4]])
    if number % 3 == 0:
        scu.send(ABORT)  # inside the PDU, where it is data and no A-ABORT
    elif number % 3 == 1:
        scu.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    scu.socket.close()


@pytest.mark.parametrize("under_tls", [False, True], ids=["plain", "TLS"])
async def test_associations_broken_off(tmp_path: Path, under_tls: bool) -> None:
    want_descriptors(ASSOCIATIONS + 100)
    authority, dicom = Authority(tmp_path / "authority"), dict[str, Any]()
    context = ssl.create_default_context(cafile=str(authority.ca))
    if under_tls:
        context.load_cert_chain(*authority.issue("ct1"))
        files = authority.server()
        named = {"tls_certificate": str(files.certificate), "tls_key": str(files.key), "tls_ca": str(files.ca)}
        dicom = {"tls_port": free_port(), **named}

    async with running(tmp_path, dicom=dicom) as site:
        assert site.node.process is not None
        pid = site.node.process.pid
        place = ("127.0.0.1", dicom.get("tls_port", site.node.dicom_port))

        def associated(_: int) -> RawScu:
            scu = RawScu(place, 60)
            if under_tls:
                scu.socket = context.wrap_socket(scu.socket, server_hostname="localhost")
            scu.associate()
            return scu

        def one_round(pool: ThreadPoolExecutor) -> None:
            scus = list(pool.map(associated, range(ASSOCIATIONS)))
            list(pool.map(break_off, scus, range(ASSOCIATIONS)))

        quiet = sockets(pid)
        measured = []
        with ThreadPoolExecutor(16) as pool:
            for _ in range(ROUNDS):
                await asyncio.to_thread(one_round, pool)
                await eventually(lambda: sockets(pid) == quiet)
                measured.append((threads(pid), resident_mib(pid)))
        assert measured[-1][0] < measured[0][0] + 8  # pools of threads fill up when they are first needed
        assert measured[-1][1] - measured[0][1] < 12  # of 600 associations
        assert list(kept_records(tmp_path / "node" / "own")) == []

        def still_works() -> None:
            made = ct()
            with associated(0) as scu:
                scu.send(build_store(1, CT, made.SOPInstanceUID, data_set_bytes(made)))
                assert scu.response().status == 0
                scu.release()

        await asyncio.to_thread(still_works)
