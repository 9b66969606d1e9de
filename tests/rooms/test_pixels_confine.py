"""What a decoder cannot do, even taken over by what it decodes, and when it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from keeping import compressed, keep, pidfd

HTJ2K = "1.2.840.10008.1.2.4.201"


def test_a_confined_process_has_no_network_no_file_and_no_program():
    program = """
import os, resource, socket, sys, threading
from drimbox.pixels.confine import confine
confine(2**30)
refused = []
for name, attempt in {
    "socket": lambda: socket.socket(), "open": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "write": lambda: os.open("x", os.O_CREAT | os.O_WRONLY), "unlink": lambda: os.unlink("x"),
    "fork": os.fork, "exec": lambda: os.execv("/bin/true", ["true"]), "kill": lambda: os.kill(os.getppid(), 0),
    "pair": socket.socketpair, "memory": lambda: bytearray(2**31),
}.items():
    try:
        attempt()
    except (PermissionError, MemoryError):
        refused.append(name)
print(*refused)
"""
    if os.uname().machine not in ("x86_64", "aarch64"):
        pytest.skip("no system call filter for this machine")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), timeout=120
    )
    assert done.stdout.split() == ["socket", "open", "write", "unlink", "fork", "exec", "kill", "pair", "memory"]


def test_a_node_that_is_killed_leaves_no_worker(tmp_path):
    stream = bytes(imagecodecs.htj2k_encode(np.zeros((16, 16), "<u2"), reversible=True))
    kept = keep(tmp_path, compressed(HTJ2K, [stream]))
    program = """
import asyncio, json, sys
from pathlib import Path
from drimbox.model import Place, Span
from drimbox.pixels.kept_file import KeptImage
from drimbox.pixels.images import Pixels
from drimbox.pixels.pool import Pool
async def main():
    room = Pixels(Pool(1))
    await room.start()
    path, size, syntax, spans = json.loads(sys.argv[1])
    image = KeptImage(Place(Path(path), 0, size), "", syntax, tuple(Span(*span) for span in spans), b"")
    async for _ in room.frames(image, [1]):
        print(*[worker.pid for worker in [*room.pool._idle]], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    spans = [(span.frame_number, span.offset, span.length, span.crc32) for span in kept.spans]
    argument = json.dumps([str(kept.place.path), kept.place.size_bytes, kept.transfer_syntax, spans])
    with subprocess.Popen(
        [sys.executable, "-c", program, argument], stdout=subprocess.PIPE, text=True, env=environment()
    ) as node:
        assert node.stdout is not None
        worker = int(node.stdout.readline())
        with pidfd(worker) as gone:
            node.kill()
            assert gone.wait()


def environment():
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
