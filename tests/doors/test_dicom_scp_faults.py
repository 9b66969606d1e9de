"""Requests that are wrong, one row each: what every service answers (PS3.7 annex C.5, PS3.4), and that it goes on.

Each command set is written element by element, so that any of them can be absent, or not of its type.
"""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import STUDY, ct

sys.path.append(str(Path(__file__).parent))
from dicom_query_stage import House, open_house
from raw_scu import CT, EXPLICIT, IMPLICIT, RawScu

from drimbox.dicom.command import VERIFICATION
from drimbox.dicom.pdu import Pdu, build_data

FIND, MOVE, GET, PUSH = (
    "1.2.840.10008.5.1.4.1.2.2.1",
    "1.2.840.10008.5.1.4.1.2.2.2",
    "1.2.840.10008.5.1.4.1.2.2.3",
    "1.2.840.10008.1.20.1",
)
WELL_KNOWN = "1.2.840.10008.1.20.1.1"
CONTEXTS = {1: CT, 3: VERIFICATION, 5: FIND, 7: MOVE, 9: GET, 11: PUSH}
SERVICES = {  # command field, context, SOP class, further elements
    "C-ECHO": (0x0030, 3, {}),
    "C-STORE": (0x0001, 1, {0x0700: b"\0\0", 0x1000: b"1.2.3.99"}),
    "C-FIND": (0x0020, 5, {0x0700: b"\0\0"}),
    "C-GET": (0x0010, 9, {0x0700: b"\0\0"}),
    "C-MOVE": (0x0021, 7, {0x0700: b"\0\0", 0x0600: b"NOWHERE "}),
    "N-ACTION": (0x0130, 11, {0x1001: WELL_KNOWN.encode(), 0x1008: b"\1\0"}),
}
STUDIES = b"\x08\x00\x52\x00CS\x06\x00STUDY \x20\x00\x0d\x00UI\x00\x00"
MESSAGE_ID = 77


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house")) as house:
        house.keep(ct(1, 1))
        yield house


def command(service: str, changes: dict[int, bytes | None]) -> bytes:
    """The command set of a sound request but for `changes`: element -> value, None to leave it out."""
    field, context_id, more = SERVICES[service]
    uid = CONTEXTS[context_id].encode()
    elements: dict[int, bytes | None] = {
        (0x0003 if service == "N-ACTION" else 0x0002): uid,
        0x0100: struct.pack("<H", field),
        0x0110: struct.pack("<H", MESSAGE_ID),
        0x0800: struct.pack("<H", 0x0101 if service == "C-ECHO" else 1),
    }
    elements |= more | changes
    return b"".join(
        struct.pack("<HHI", 0, tag, len(value) + len(value) % 2) + value + b"\0" * (len(value) % 2)
        for tag, value in sorted(elements.items())
        if value is not None
    )


def message(service: str, changes: dict[int, bytes | None], data_set: bytes, context_id: int = 0) -> bytes:
    context_id = context_id or SERVICES[service][1]
    pdus = [*build_data(context_id, command(service, changes), True, 0)]
    if data_set:
        pdus += build_data(context_id, data_set, False, 0)
    return b"".join(pdus)


def associated(house: House) -> RawScu:
    scu = RawScu(house.stage.place)
    scu.associate([(uid, [IMPLICIT if uid == VERIFICATION else EXPLICIT]) for uid in CONTEXTS.values()])
    return scu


ODD: dict[int, bytes | None] = {0x0700: b"\0\0\0\0"}
NO_CLASS: dict[int, bytes | None] = {0x0002: None}
OTHER_CLASS: dict[int, bytes | None] = {0x0002: b"1.2.840.10008.5.1.4.1.1.4"}
NO_DATA: dict[int, bytes | None] = {0x0800: b"\1\1"}

ROWS: list[tuple[str, dict[int, bytes | None], bytes, int, int]] = [
    # service, changes, data set, in another context, status
    ("C-ECHO", {}, b"", 0, 0x0000),
    ("C-ECHO", NO_CLASS, b"", 0, 0x0122),
    ("C-ECHO", OTHER_CLASS, b"", 0, 0x0122),
    ("C-ECHO", {}, b"", 1, 0x0211),
    ("C-ECHO", {}, b"", 11, 0x0211),
    ("C-STORE", NO_CLASS, STUDIES, 0, 0x0122),
    ("C-STORE", OTHER_CLASS, STUDIES, 0, 0x0122),
    ("C-STORE", ODD, STUDIES, 0, 0x0212),
    ("C-STORE", {0x1000: None}, STUDIES, 0, 0x0117),
    ("C-STORE", {0x1000: b"1.2.x"}, STUDIES, 0, 0x0117),
    ("C-STORE", {}, STUDIES, 0, 0xC000),  # the data set names no instance
    ("C-STORE", NO_DATA, b"", 0, 0xC000),
    ("C-STORE", {}, STUDIES, 3, 0x0211),
    ("C-STORE", {0x0002: FIND.encode()}, STUDIES, 5, 0x0211),
    ("C-FIND", NO_CLASS, STUDIES, 0, 0x0122),
    ("C-FIND", OTHER_CLASS, STUDIES, 0, 0x0122),
    ("C-FIND", ODD, STUDIES, 0, 0x0212),
    ("C-FIND", NO_DATA, b"", 0, 0xC000),
    ("C-FIND", {}, STUDIES[:-8], 0, 0x0000),
    ("C-FIND", {}, STUDIES[-8:], 0, 0xA900),  # no level
    ("C-FIND", {}, STUDIES[:-1], 0, 0xC000),  # cut
    ("C-FIND", {}, STUDIES, 1, 0x0211),
    ("C-FIND", {}, STUDIES, 9, 0x0211),
    ("C-GET", NO_CLASS, STUDIES, 0, 0x0122),
    ("C-GET", OTHER_CLASS, STUDIES, 0, 0x0122),
    ("C-GET", ODD, STUDIES, 0, 0x0212),
    ("C-GET", NO_DATA, b"", 0, 0xC000),
    ("C-GET", {}, STUDIES, 0, 0xA900),  # the unique key has no value
    ("C-GET", {}, STUDIES, 5, 0x0211),
    ("C-MOVE", NO_CLASS, STUDIES, 0, 0x0122),
    ("C-MOVE", OTHER_CLASS, STUDIES, 0, 0x0122),
    ("C-MOVE", ODD, STUDIES, 0, 0x0212),
    ("C-MOVE", {}, STUDIES, 0, 0xA801),
    ("C-MOVE", {0x0600: None}, STUDIES, 0, 0xA801),
    ("C-MOVE", {}, STUDIES, 9, 0x0211),
    ("N-ACTION", {0x0003: None}, STUDIES, 0, 0x0118),
    ("N-ACTION", {0x0003: CT.encode()}, STUDIES, 0, 0x0118),
    ("N-ACTION", {0x1001: None}, STUDIES, 0, 0x0117),
    ("N-ACTION", {0x1001: b"1.2.x"}, STUDIES, 0, 0x0117),
    ("N-ACTION", {0x1001: b"1.2.3"}, STUDIES, 0, 0x0112),
    ("N-ACTION", {0x1008: None}, STUDIES, 0, 0x0123),
    ("N-ACTION", {0x1008: b"\2\0"}, STUDIES, 0, 0x0123),
    ("N-ACTION", {0x1008: b"\1\0\0\0"}, STUDIES, 0, 0x0212),
    ("N-ACTION", NO_DATA, b"", 0, 0x0115),
    ("N-ACTION", {}, STUDIES, 0, 0x0115),  # no Transaction UID
    ("N-ACTION", {}, STUDIES, 1, 0x0211),
]


@pytest.mark.parametrize(("service", "changes", "data_set", "context_id", "status"), ROWS)
def test_each_wrong_request_gets_its_status(
    house: House, service: str, changes: dict[int, bytes | None], data_set: bytes, context_id: int, status: int
) -> None:
    with associated(house) as scu:
        scu.send(message(service, changes, data_set, context_id))
        response = scu.response()
        while response.status in (0xFF00, 0xFF01):  # one match: its data set is read over
            scu.receive()
            response = scu.response()
        assert (f"{response.status or 0:04X}", response.message_id) == (f"{status:04X}", MESSAGE_ID)
        assert response.field == SERVICES[service][0] | 0x8000
        assert bool(response.error_comment) is (status != 0)
        assert scu.echo().status == 0
        scu.release()


@pytest.mark.parametrize("field", [0x0100, 0x0110, 0x0120, 0x0140, 0x0150, 0x0FFE])
def test_the_other_operations_are_not_recognized(house: House, field: int) -> None:
    """N-EVENT-REPORT (we are who sends it), N-GET, N-SET, N-CREATE, N-DELETE, and none at all."""
    with associated(house) as scu:
        for context_id in CONTEXTS:
            scu.send(message("N-ACTION", {0x0100: struct.pack("<H", field), 0x1008: None}, STUDIES, context_id))
            response = scu.response()
            assert (response.field, response.status, response.message_id) == (field | 0x8000, 0x0211, MESSAGE_ID)
        scu.release()


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("element", [0x0100, 0x0110, 0x0800])
@pytest.mark.parametrize("value", [None, b"\0\0\0\0", b""])
def test_what_cannot_be_answered_ends_the_association(
    house: House, service: str, element: int, value: bytes | None
) -> None:
    """Without Command Field, Message ID or Data Set Type nobody knows to what the answer would be one."""
    with associated(house) as scu:
        scu.send(b"".join(build_data(SERVICES[service][1], command(service, {element: value}), True, 0)))
        assert scu.receive() == (Pdu.ABORT, bytes(4))
        assert scu.receive() is None


def test_a_second_question_under_the_message_id_of_one_under_way_is_a_duplicate(house: House) -> None:
    """Sent together: the second is there before the first is answered. Another Message ID only has to wait."""
    study = b"\x08\x00\x52\x00CS\x06\x00STUDY \x20\x00\x0d\x00UI" + struct.pack("<H", len(STUDY)) + STUDY.encode()
    with associated(house) as scu:
        again, other = message("C-FIND", {}, study), message("C-FIND", {0x0110: b"\5\0"}, study)
        scu.send(again + again + other)
        answers = []
        while len([status for _, status in answers if status != 0xFF00]) < 3:
            response = scu.response()
            answers.append((response.message_id, response.status))
            if response.has_data_set:
                scu.receive()
        scu.send(message("C-FIND", {}, study))  # it is free again
        assert scu.response().status == 0xFF00
    assert answers == [
        (MESSAGE_ID, 0xFF00), (MESSAGE_ID, 0x0000), (MESSAGE_ID, 0x0210), (5, 0xFF00), (5, 0x0000),
    ]  # fmt: skip
