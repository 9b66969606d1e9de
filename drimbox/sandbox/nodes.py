"""Two real nodes as the sandbox starts them: `drimbox serve` in processes of their own, on loopback."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from drimbox.egress import Answer, Egress
from drimbox.errors import Unavailable

_START_S: Final = 60.0
_STOP_S: Final = 20.0
_PORTS: Final = range(20_000, 32_768)

_given: Final = set[int]()


def free_port() -> int:
    """A TCP port of loopback nobody listens on now, another one at each call.

    It is bound again only later: none of those that the system gives to connections, which begin at 32768 on Linux.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise Unavailable("sandbox", f"there is no free port from {_PORTS[0]} to {_PORTS[-1]}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass
class RunningNode:
    """A node's process and its doors."""

    name: str
    folder: Path
    http_port: int
    dicom_port: int
    hl7_port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Its HTTP address, without a slash at the end."""
        return f"http://127.0.0.1:{self.http_port}"

    async def start(self) -> None:
        """Return once it said `ready`. Raises Unavailable with the place of its log."""
        log = self.folder / f"{self.name}.log"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DRIMBOX_")}
        with log.open("ab") as stderr:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "drimbox", "serve", "--config", str(self.folder / f"{self.name}.toml"),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=stderr, env=environment,
                start_new_session=True,
            )  # fmt: skip
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                line = await self.process.stdout.readline() if self.process.stdout else b""
        if not line.startswith(b"ready"):
            await self.stop()
            raise Unavailable(f"{self.name} node", f"it did not become ready: see {log}")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, and wait until it has."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(number)
        try:
            await asyncio.wait_for(self.process.wait(), _STOP_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


def new_node(name: str, folder: Path, settings: dict[str, Any]) -> RunningNode:
    """Choose its ports and write its configuration: `settings` over the addresses of the sandbox."""
    file = folder / f"{name}.ports.json"
    ports = json.loads(file.read_text()) if file.is_file() else [free_port() for _ in range(3)]
    file.write_text(json.dumps(ports))
    node = RunningNode(name, folder, *ports)
    sections: dict[str, dict[str, Any]] = {
        "node": {"data_dir": str(folder / name)},
        "dicom": {"port": node.dicom_port, "ae_title": name.upper()},
        "http": {"port": node.http_port},
        "hl7": {"port": node.hl7_port},
    }
    for title, values in settings.items():
        sections[title] = sections.get(title, {}) | values
    (folder / f"{name}.toml").write_text("".join(_section(title, values) for title, values in sections.items()))
    return node


def _section(title: str, values: dict[str, Any]) -> str:
    """A TOML table, whatever is below it written inline."""
    return f"[{title}]\n" + "".join(f"{key} = {_inline(value)}\n" for key, value in values.items()) + "\n"


def _inline(value: Any) -> str:
    """JSON's strings, numbers and arrays are TOML's too; its objects differ by the sign between key and value."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


async def ask(egress: Egress, url: str, accept: str = "application/json") -> Answer:
    """GET on a node of the sandbox; raises Unavailable unless it answers 200."""
    answer = await egress.get(url, headers={"Accept": accept}, timeout_s=120, max_bytes=1 << 30)
    if answer.status != 200:
        raise Unavailable(
            "sandbox", f"a node answered {answer.status}: {answer.content[:300].decode('utf-8', 'replace')}"
        )
    return answer
