"""The decision table: door, what was seen, what is configured, what comes out."""

from pathlib import Path
from typing import Any, get_args

import pytest

from drimbox.auth.policy import CALLED_TITLE, decide
from drimbox.errors import Denied, Unidentified
from drimbox.model import Action, Credentials, Door
from drimbox.settings import Caller, Dicom, Hl7, Settings


def settings(**sections: Any) -> Settings:
    return Settings(**sections)


LISTED = settings(
    dicom=Dicom(
        callers=(
            Caller(ae_title="MODALITY", address="192.168.1.5"),
            Caller(ae_title="PACS", address="::1"),
            Caller(ae_title="MR", address="10.20.0.0/16"),
            Caller(ae_title="MR6", address="fd00:5::/64"),
            Caller(ae_title="US", address="192.168.1.0/24", certificate="CN=us,O=Hospital"),
        ),
        other_titles=("OLD_NAME",),
        tls_port=2762,
        tls_certificate=Path("certificate.pem"),
        tls_key=Path("key.pem"),
        tls_ca=Path("ca.pem"),
    ),
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
        (LISTED, "MR", "10.20.255.1", "ae:MR@10.20.255.1"),
        (LISTED, "MR", "::ffff:10.20.0.9", "ae:MR@::ffff:10.20.0.9"),
        (LISTED, "MR6", "fd00:5::77", "ae:MR6@fd00:5::77"),
    ],
)
def test_known_applications_come_in(config: Settings, calling: str, address: str, identity: str) -> None:
    reader = decide(Credentials("dicom", address, calling, "DRIMBOX"), "store", config)
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
        (LISTED, "MR", "10.21.0.1"),
        (LISTED, "MR", "::10.20.0.1"),
        (LISTED, "MR6", "fd00:6::77"),
        (LISTED, "US", "192.168.1.9"),  # without its certificate
    ],
)
def test_unknown_applications_are_denied(config: Settings, calling: str, address: str) -> None:
    with pytest.raises(Denied):
        decide(Credentials("dicom", address, calling, "DRIMBOX"), "store", config)


@pytest.mark.parametrize(
    ("certificate", "allowed"),
    [("CN=us,O=Hospital", True), ("CN=US,O=Hospital", False), ("O=Hospital,CN=us", False), ("", False)],
)
def test_a_caller_with_a_certificate_must_show_it(certificate: str, allowed: bool) -> None:
    credentials = Credentials("dicom", "192.168.1.9", "US", "DRIMBOX", certificate=certificate)
    if allowed:
        assert decide(credentials, "store", LISTED).identity == "ae:US@192.168.1.9 [CN=us,O=Hospital]"
    else:
        with pytest.raises(Denied):
            decide(credentials, "store", LISTED)


@pytest.mark.parametrize(
    ("config", "called", "allowed"),
    [
        (LISTED, "DRIMBOX", True),
        (LISTED, "DRIMBOX         ", True),
        (LISTED, "OLD_NAME", True),
        (LISTED, "drimbox", False),
        (LISTED, "ANY-SCP", False),
        (LISTED, "", False),
        (EMPTY, "ANY-SCP", True),
    ],
)
def test_the_called_title_is_checked_where_callers_are_listed(config: Settings, called: str, allowed: bool) -> None:
    credentials = Credentials("dicom", "::1", "PACS", called)
    if allowed:
        decide(credentials, "store", config)
    else:
        with pytest.raises(Denied) as refused:
            decide(credentials, "store", config)
        assert refused.value.what == CALLED_TITLE


def test_a_stranger_is_not_told_whether_the_called_title_is_ours() -> None:
    with pytest.raises(Denied) as refused:
        decide(Credentials("dicom", "192.168.1.5", "STRANGER", "WRONG"), "store", LISTED)
    assert refused.value.what != CALLED_TITLE


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
