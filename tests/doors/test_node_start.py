"""A node that cannot start says why in one line and leaves nothing behind; one that can, does at ::1 too."""

import contextlib
import os
import socket
import subprocess
import sys

import pytest

from drimbox.app import build
from drimbox.errors import Unavailable
from drimbox.settings import Settings

DOORS = ("dicom", "http", "hl7")


def settings(folder, host="127.0.0.1", **ports):
    sections = {door: {"port": ports.get(door, 0), "host": host} for door in DOORS}
    return Settings(node={"data_dir": folder}, **sections)


@contextlib.contextmanager
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.mark.parametrize("door", DOORS)
async def test_a_port_that_is_taken_leaves_nothing_open(tmp_path, door):
    with taken_port() as port, pytest.raises(Unavailable, match=rf"{door}\.port: .*127.0.0.1:{port}"):
        node = build(settings(tmp_path, **{door: port}))
        try:
            await node.start()
        finally:
            await node.stop()
    node = build(settings(tmp_path))  # the folder is free again
    await node.start()
    await node.stop()


@pytest.mark.parametrize("door", DOORS)
def test_a_port_that_is_taken_is_one_line_and_exit_code_1(tmp_path, door):
    environment = {f"DRIMBOX_{each.upper()}__PORT": "0" for each in DOORS}
    with taken_port() as port:
        environment |= {f"DRIMBOX_{door.upper()}__PORT": str(port), "DRIMBOX_NODE__DATA_DIR": str(tmp_path / "data")}
        ended = subprocess.run(
            [sys.executable, "-m", "drimbox", "serve"],
            env=os.environ | environment, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    said = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert (ended.returncode, ended.stdout, len(said)) == (1, "", 1)
    assert said[0].startswith(f"drimbox: {door}.port: ")


async def test_a_folder_in_use_is_refused(tmp_path):
    node = build(settings(tmp_path))
    try:
        with pytest.raises(Unavailable, match="another node"):
            build(settings(tmp_path))
    finally:
        await node.stop()


async def test_a_step_of_the_end_that_fails_does_not_keep_the_others(tmp_path, monkeypatch):
    node = build(settings(tmp_path))
    await node.start()
    stop = node.hl7.stop

    async def fail():
        await stop()
        raise OSError("a door that does not close")

    monkeypatch.setattr(node.hl7, "stop", fail)
    with pytest.raises(OSError, match="does not close"):
        await node.stop()
    await build(settings(tmp_path)).stop()


async def test_every_door_opens_at_an_ipv6_address(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    node = build(settings(tmp_path, host="::1"))
    try:
        addresses = await node.start()
        assert all(address.removeprefix("http://").startswith("[::1]:") for address in addresses.values())
        for door in ("dicom", "hl7"):
            socket.create_connection(("::1", int(addresses[door].rpartition(":")[2])), timeout=5).close()
    finally:
        await node.stop()
