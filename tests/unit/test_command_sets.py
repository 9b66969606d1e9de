"""Command sets against bytes worked by hand from PS3.7 §9.3 and annex E, and against another implementation."""

import pytest
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_STORE_RQ as PeerStore
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from drimbox.dicom.command import C_ECHO_RQ, C_STORE_RQ, RESPONSE, VERIFICATION, Command, build_command, read_command
from drimbox.errors import Malformed

ECHO = bytes.fromhex(
    "0000 0000 04000000 38000000"  # group length: 56
    "0000 0200 12000000" + b"1.2.840.10008.1.1\0".hex() + "0000 0001 02000000 3000"
    "0000 1001 02000000 0700"
    "0000 0008 02000000 0101"
)


def test_a_hand_made_echo_is_read_and_built() -> None:
    command = Command(C_ECHO_RQ, 7, VERIFICATION)

    assert read_command(ECHO) == command
    assert build_command(command) == ECHO


def test_a_store_by_pynetdicom_is_read() -> None:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 65535, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.2"), UID("1.2.3")
    message = PeerStore()
    message.primitive_to_message(primitive)
    message.command_set.CommandDataSetType = 1
    message.command_set.MoveOriginatorApplicationEntityTitle = "ARCHIVE"
    encoded = encode(message.command_set, is_implicit_vr=True, is_little_endian=True)
    assert encoded is not None

    assert read_command(encoded) == Command(
        C_STORE_RQ, 65535, "1.2.840.10008.5.1.4.1.1.2", "1.2.3", has_data_set=True, priority=2
    )


def test_a_response_round_trips() -> None:
    command = Command(C_STORE_RQ | RESPONSE, 3, "1.2", "1.2.3", status=0xA700, error_comment="volume: full")

    assert read_command(build_command(command)) == command


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ECHO[:-1],
        ECHO[:-10],  # no data set type
        ECHO + b"\0\0\0\x08\x02\0\0\0\1\1",  # twice
        ECHO + b"\x08\0\x18\0\0\0\0\0",  # another group
        ECHO + b"\0\0\0\x09\xff\xff\xff\xff",  # undefined length
        ECHO.replace(b"\x10\1\2\0\0\0\7\0", b"\x10\1\1\0\0\0\7"),  # a message id of one byte
    ],
)
def test_a_command_set_that_is_not_one_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_command(data)


def test_a_wrong_group_length_is_forgiven() -> None:
    assert read_command(ECHO.replace(b"\x38\0\0\0", b"\x39\0\0\0", 1)).message_id == 7
