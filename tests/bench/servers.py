"""Who serves in the benchmark: our node, Orthanc with its DICOMweb plugin, and nginx with the same bytes as files."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from receivers import HOST, ROOT, Orthanc, Ours, Running
from serve_corpus import ServeCorpus

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class OurServer(Ours):
    """`drimbox serve`: every access admitted and traced, every byte checked before it leaves."""

    def command(self, folder: Path, port: int, http_port: int) -> list[str]:
        command = super().command(folder, port, http_port)
        with (folder / "drimbox.toml").open("a") as config:
            config.write("[pixels]\ncache_bytes = 0\n")  # a frame that is made is made each time, as the peer does
        return command

    def load(self, folder: Path, corpus: ServeCorpus) -> None:
        folder.mkdir(parents=True)
        self.command(folder, 0, 0)
        command = [sys.executable, "-m", "drimbox", "import", "--config", str(folder / "drimbox.toml")]
        subprocess.run([*command, *map(str, corpus.folders)], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


class OrthancServer(Orthanc):
    """Orthanc as packaged with its DICOMweb plugin; nothing is checked, nobody is asked."""

    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc" if PLUGIN.exists() else str(PLUGIN)

    def command(self, folder: Path, port: int, http_port: int) -> list[str]:
        command = super().command(folder, port, http_port)
        file = Path(command[-1])
        settings = json.loads(file.read_text())
        settings |= {"Plugins": [str(PLUGIN)], "SyncStorageArea": False, "HttpThreadsCount": 50}
        settings |= {"DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "HttpCompressionEnabled": False}
        file.write_text(json.dumps(settings))
        return command

    def load(self, running: Running, corpus: ServeCorpus) -> None:
        for file in (file for folder in corpus.folders for file in sorted(folder.iterdir())):
            address = f"http://{HOST}:{running.http_port}/instances"
            request = urllib.request.Request(address, file.read_bytes(), {"Content-Type": "application/dicom"})
            with urllib.request.urlopen(request, timeout=300) as answer:
                answer.read()


class Nginx:
    """Two workers, sendfile; files made of what our node answered."""

    name = "nginx"
    program = shutil.which("nginx") or "/usr/sbin/nginx"

    def command(self, folder: Path, port: int, http_port: int) -> list[str]:
        (folder / "data").mkdir(exist_ok=True)
        config = folder / "nginx.conf"
        config.write_text(
            f"{_user()}daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log;\n"
            "events { worker_connections 512; }\n"
            "http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type a/b;\n"
            + "".join(f"{name}_temp_path {folder}/{name};" for name in _TEMPORARY)
            + "".join(_server(folder, each) for each in (port, http_port))
            + "}\n"
        )
        return [self.program, "-c", str(config), "-p", str(folder)]

    def keep(self, folder: Path, name: str, bodies: Sequence[bytes]) -> None:
        """Files `name/1`, `name/2`, …"""
        (folder / "data" / name).mkdir(parents=True, exist_ok=True)
        for number, body in enumerate(bodies, start=1):
            (folder / "data" / name / str(number)).write_bytes(body)


_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _user() -> str:
    """Started by root it would let go of that, and could not read a folder that is ours alone."""
    return "user root; " if os.geteuid() == 0 else ""


def _server(folder: Path, port: int) -> str:
    return f"server {{ listen {HOST}:{port}; root {folder}/data; }}\n"
