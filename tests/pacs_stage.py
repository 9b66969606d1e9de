"""Real archives to talk to, each in a folder and at a port of its own: DCMTK's dcmqrscp, and Orthanc."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drimbox.sandbox.nodes import free_port

DCMQRSCP = Path("/usr/bin/dcmqrscp")
ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"

needs_dcmqrscp = pytest.mark.skipif(not DCMQRSCP.exists(), reason="DCMTK is not installed")
needs_orthanc = pytest.mark.skipif(not Path(ORTHANC).exists(), reason="Orthanc is not installed")

Known = Mapping[str, int]
"""AE titles the archive may send to, all on loopback, and their ports."""


@dataclass(frozen=True)
class Archive:
    """A running archive. api: of Orthanc, empty for the other."""

    ae_title: str
    port: int
    api: str = ""

    def ask(self, path: str, body: Any = None) -> Any:
        """GET of Orthanc's own API, or POST of `body`."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.api}{path}", data), timeout=30) as answer:
            return json.load(answer)


@contextmanager
def dcmqrscp(folder: Path, known: Known) -> Iterator[Archive]:
    """DCMTK's archive."""
    port = free_port()
    (folder / "kept").mkdir(parents=True)
    hosts = "\n".join(f"h{title} = ({title}, 127.0.0.1, {at})" for title, at in known.items())
    (folder / "config").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\nHostTable BEGIN\n{hosts}\nHostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nPACS {folder}/kept RW (200, 1024mb) ANY\nAETable END\n"
    )
    with _running([str(DCMQRSCP), "-c", str(folder / "config")], folder, port):
        yield Archive("PACS", port)


@contextmanager
def orthanc(folder: Path, known: Known) -> Iterator[Archive]:
    """Orthanc without plugins, that lets everybody ask."""
    port, http_port = free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "StorageDirectory": str(folder / "kept"),
        "IndexDirectory": str(folder / "kept"),
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowMove": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowStore": True,
        "DicomModalities": {
            title: {"AET": title, "Host": "127.0.0.1", "Port": at, "AllowStorageCommitment": True}
            for title, at in known.items()
        },
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with _running([ORTHANC, str(folder / "orthanc.json")], folder, port, http_port):  # one after the other
        yield Archive("ORTHANC", port, f"http://127.0.0.1:{http_port}")


def until_it_listens(process: "subprocess.Popen[Any]", port: int, log: Path | None = None) -> None:
    """Return once somebody takes connections at `port`."""
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log and log.read_text(errors="replace")[-2000:]
        assert time.monotonic() < deadline, "it does not listen"
        try:
            socket.create_connection(("127.0.0.1", port), 10).close()
            return
        except OSError:
            time.sleep(0.05)


@contextmanager
def _running(command: Sequence[str], folder: Path, *ports: int) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for port in ports:
                until_it_listens(process, port, folder / "log")
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
