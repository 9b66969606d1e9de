"""A whole node in the process of the test, on free ports of this machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from drimbox.app import Node, build
from drimbox.settings import Settings

DOORS = ("dicom", "http", "hl7")


@asynccontextmanager
async def a_node(folder: Path) -> AsyncIterator[tuple[Node, dict[str, str]]]:
    """The node and the addresses of its doors."""
    node = build(Settings(node={"data_dir": folder}, **{door: {"port": 0} for door in DOORS}))  # type: ignore[arg-type]
    addresses = await node.start()
    try:
        yield node, addresses
    finally:
        await node.stop()
