"""One worker process, seen from the node."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from typing import Self

from drimbox.pixels.protocol import LENGTH, MOST_HEADER_BYTES, Answer, Caps, Job, build_request, read_answer_header

_BUFFER_BYTES = 2**20


class Died(Exception):
    """The worker ended before it answered. signal: that killed it, 0 when it ended by itself."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


class WorkerProcess:
    """A process and the socket to it. One job at a time; `jobs` counts those that were given."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket, caps: Caps) -> None:
        self._process = process
        self._connection = connection
        self._caps = caps
        self.jobs = 0

    @classmethod
    def spawn(cls, caps: Caps) -> Self:
        """Start a process. It loads its codecs meanwhile: await `ready` before the first job.

        It gets no environment but what Python needs: the node's may hold secrets. It is no child of our terminal, so
        that Ctrl-C lets the node finish what it answers.
        """
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-B", "-m", "drimbox.pixels.worker", json.dumps(asdict(caps))],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={
                    "PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path))),
                    "LC_ALL": "C.UTF-8",
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
                start_new_session=True,
            )
            undo.pop_all()
        ours.setblocking(False)
        return cls(process, ours, caps)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Has it not ended by itself, as far as is known?"""
        return self._process.poll() is None

    async def ready(self) -> None:
        """Wait until it can work. Raises Died."""
        await self._receive_answer()

    async def ask(self, descriptor: int, job: Job) -> Answer:
        """Have `job` done on the file open as `descriptor`. Raises the leaf the worker refuses with, Died, or a bug."""
        self.jobs += 1
        request = build_request(job)
        try:
            # The socket is empty here: four bytes always fit at once.
            socket.send_fds(self._connection, [LENGTH.pack(len(request))], [descriptor])
            await asyncio.get_running_loop().sock_sendall(self._connection, request)
        except OSError as error:
            raise await self._died() from error
        return await self._receive_answer()

    async def _receive_answer(self) -> Answer:
        (length,) = LENGTH.unpack(await self._receive(LENGTH.size))
        if length > MOST_HEADER_BYTES:
            raise ValueError("the answer of a pixel worker is too long")
        facts, sizes = read_answer_header(await self._receive(length))
        if sum(sizes) > self._caps.frame_bytes + self._caps.answer_bytes:
            raise ValueError("the answer of a pixel worker is too long")
        return Answer(facts, [await self._receive(size) for size in sizes])

    async def _receive(self, length: int) -> bytes:
        content = bytearray(length)
        rest = memoryview(content)
        loop = asyncio.get_running_loop()
        while rest:
            try:
                count = await loop.sock_recv_into(self._connection, rest)
            except OSError as error:
                raise await self._died() from error
            if not count:
                raise await self._died()
            rest = rest[count:]
        return bytes(content)

    async def _died(self) -> Died:
        code = await asyncio.to_thread(self._process.wait)
        return Died(max(0, -code))

    async def end(self) -> None:
        """Kill it and wait until it is gone."""
        self._connection.close()
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
