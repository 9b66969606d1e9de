"""Two HTTP clients that cost little: wrk for requests a second, a socket for the first and the last byte."""

import http.client
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

HOST = "127.0.0.1"
_LUA = """
local urls, n = {}, 0
function init(args)
  for line in io.lines(args[1]) do urls[#urls + 1] = line end
  wrk.headers["Accept"] = args[2]
  if args[3] ~= "" then wrk.headers["Accept-Encoding"] = args[3] end
end
function request() n = n % #urls + 1; return wrk.format("GET", urls[n]) end
"""


@dataclass(frozen=True)
class Timed:
    """One answer: milliseconds to its first byte and to its last, and how many bytes came."""

    first_ms: float
    whole_ms: float
    size_bytes: int


def wrk(port: int, paths: Sequence[str], accept: str, seconds: int, encoding: str = "") -> float:
    """Requests a second of eight connections. Raises RuntimeError for an answer that is no 2xx."""
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError("wrk is not installed")
    with tempfile.TemporaryDirectory() as name:
        script, listed = Path(name, "paths.lua"), Path(name, "paths")
        script.write_text(_LUA)
        listed.write_text("\n".join(paths) + "\n")
        options = ["-t1", "-c8", f"-d{seconds}s", "--timeout", "60s", "-s", str(script), f"http://{HOST}:{port}"]
        command = [program, *options, "--", str(listed), accept, encoding]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(said)
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0])


class Client:
    """One connection, kept. The bytes of long answers are counted and never copied (MSG_TRUNC)."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._buffer = bytearray(2**22)  # never written to, but asked for
        self._socket = self._connected()

    def _connected(self) -> socket.socket:
        opened = socket.create_connection((HOST, self._port), 300)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def get(self, path: str, accept: str, encoding: str = "") -> Timed:
        """Raises RuntimeError unless the answer is 200."""
        coding = f"Accept-Encoding: {encoding}\r\n" if encoding else ""
        began = time.perf_counter()
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {HOST}:{self._port}\r\nAccept: {accept}\r\n{coding}\r\n".encode()
        )
        head = self._socket.recv(65536)
        first = time.perf_counter()
        while b"\r\n\r\n" not in head:
            head += self._socket.recv(65536)
        head, _, begun = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode("latin-1"))
        size = self._rest(head, begun)
        return Timed((first - began) * 1000, (time.perf_counter() - began) * 1000, size)

    def _rest(self, head: bytes, begun: bytes) -> int:
        if told := re.search(rb"content-length: *(\d+)", head, re.IGNORECASE):
            left = int(told[1]) - len(begun)
            while left > 0:
                left -= self._socket.recv_into(self._buffer, min(left, len(self._buffer)), socket.MSG_TRUNC)
            return int(told[1])
        size, tail = len(begun), begun
        while not tail.endswith(b"\r\n0\r\n\r\n"):  # chunked, or until the peer closes
            chunk = self._socket.recv(2**20)
            if not chunk:
                self._socket.close()
                self._socket = self._connected()
                break
            size, tail = size + len(chunk), tail[-16:] + chunk
        return size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._socket.close()


def get(port: int, path: str, accept: str) -> bytes:
    """The body of one answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=300)
    try:
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} {path}: {body[:200]!r}")
    return body
