"""Ports that are chosen now and bound later: no two the same, and none that a connection is given meanwhile."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from drimbox.errors import Unavailable
from drimbox.sandbox import nodes
from drimbox.sandbox.nodes import free_port

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_no_two_are_the_same() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200


@pytest.mark.skipif(not RANGE.exists(), reason="only Linux says which ports it gives to connections")
def test_none_is_one_that_a_connection_may_be_given() -> None:
    first, last = map(int, RANGE.read_text().split())
    if first < 32768:
        pytest.skip("this machine gives others than Linux does by itself")
    assert not set(range(first, last + 1)) & set(nodes._PORTS)


def test_those_that_are_taken_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", free_port()))) for _ in range(2)]
        one, other = (listener.getsockname()[1] for listener in taken)
        monkeypatch.setattr(nodes, "_given", set())
        free = free_port()
        monkeypatch.setattr(nodes, "_given", set())
        monkeypatch.setattr(nodes, "_PORTS", [one, free, other])
        assert free_port() == free
        with pytest.raises(Unavailable, match="no free port"):
            free_port()
