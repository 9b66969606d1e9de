"""The decision table: door, what was seen, what is configured, what comes out."""

from typing import Any, get_args

import pytest

from drimbox.auth.policy import decide
from drimbox.errors import Denied, Unidentified
from drimbox.model import Action, Credentials, Door
from drimbox.settings import Caller, Dicom, Hl7, Settings


def settings(**sections: Any) -> Settings:
    return Settings(**sections)


LISTED = settings(
    dicom=Dicom(callers=(Caller(ae_title="MODALITY", address="192.168.1.5"), Caller(ae_title="PACS", address="::1"))),
    hl7=Hl7(senders=("192.168.1.7", "fd00::7")),
)
EMPTY = settings()


@pytest.mark.parametrize(
    ("config", "calling", "address", "identity"),
    [
        (EMPTY, "ANY", "127.0.0.1", "ae:ANY@127.0.0.1"),
        (EMPTY, "ANY", "::1", "ae:ANY@::1"),
        (EMPTY, "ANY", "::ffff:127.0.0.1", "ae:ANY@::ffff:127.0.0.1"),
        (LISTED, "MODALITY", "192.168.1.5", "ae:MODALITY@192.168.1.5"),
        (LISTED, "MODALITY        ", "192.168.1.5", "ae:MODALITY@192.168.1.5"),
        (LISTED, "MODALITY", "::ffff:192.168.1.5", "ae:MODALITY@::ffff:192.168.1.5"),
        (LISTED, "PACS", "0:0:0:0:0:0:0:1", "ae:PACS@0:0:0:0:0:0:0:1"),
    ],
)
def test_known_applications_come_in(config: Settings, calling: str, address: str, identity: str) -> None:
    reader = decide(Credentials("dicom", address, calling, "WHATEVER"), "store", config)
    assert (reader.identity, reader.door, reader.address) == (identity, "dicom", address)


@pytest.mark.parametrize(
    ("config", "calling", "address"),
    [
        (EMPTY, "MODALITY", "192.168.1.5"),
        (EMPTY, "MODALITY", "localhost"),
        (EMPTY, "MODALITY", ""),
        (LISTED, "MODALITY", "192.168.1.6"),
        (LISTED, "MODALITY", "127.0.0.1"),
        (LISTED, "OTHER", "192.168.1.5"),
        (LISTED, "modality", "192.168.1.5"),
        (LISTED, "", "192.168.1.5"),
        (LISTED, "PACS", "192.168.1.5"),
    ],
)
def test_unknown_applications_are_denied(config: Settings, calling: str, address: str) -> None:
    with pytest.raises(Denied):
        decide(Credentials("dicom", address, calling), "store", config)


@pytest.mark.parametrize(
    ("config", "address", "allowed"),
    [
        (EMPTY, "127.0.0.1", True),
        (EMPTY, "192.168.1.7", False),
        (LISTED, "192.168.1.7", True),
        (LISTED, "fd00:0::7", True),
        (LISTED, "127.0.0.1", False),
        (LISTED, "192.168.1.8", False),
    ],
)
def test_hl7_senders(config: Settings, address: str, allowed: bool) -> None:
    credentials = Credentials("hl7", address, "RIS", "DRIMBOX")
    if allowed:
        assert decide(credentials, "report", config).identity == f"hl7:RIS@{address}"
    else:
        with pytest.raises(Denied):
            decide(credentials, "report", config)


@pytest.mark.parametrize("door", ["http", "operator"])
def test_people_are_known_on_this_machine_only(door: Door) -> None:
    assert decide(Credentials(door, "127.0.0.1"), "consult", EMPTY).identity == "loopback"
    for address in ("192.168.1.5", "10.0.0.1", "2001:db8::1", "localhost", ""):
        with pytest.raises(Unidentified):
            decide(Credentials(door, address, token="anything"), "consult", EMPTY)


@pytest.mark.parametrize(
    ("door", "actions"),
    [
        ("dicom", {"echo", "store", "search", "retrieve"}),
        ("hl7", {"report"}),
        ("http", {"store", "search", "retrieve", "consult", "operate"}),
        ("operator", {"store", "search", "retrieve", "report", "consult", "operate"}),
    ],
)
def test_a_door_offers_its_actions_only(door: Door, actions: set[Action]) -> None:
    for action in get_args(Action):
        credentials = Credentials(door, "127.0.0.1", "X")
        if action in actions:
            decide(credentials, action, EMPTY)
        else:
            with pytest.raises(Denied):
                decide(credentials, action, EMPTY)


def test_a_refusal_holds_no_value_of_the_caller() -> None:
    with pytest.raises(Denied) as refused:
        decide(Credentials("dicom", "192.168.9.9", "DUPONT"), "store", LISTED)
    assert "DUPONT" not in str(refused.value)
    assert "192.168.9.9" not in str(refused.value)
