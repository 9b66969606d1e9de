"""UID grammar, transfer syntaxes and storage classes against PS3.5, PS3.6 and pydicom's copy of the registry."""

import pytest
from pydicom._uid_dict import UID_dictionary

from drimbox.dicom.uid import TRANSFER_SYNTAXES, checked_uid, is_storage
from drimbox.errors import Malformed


@pytest.mark.parametrize(
    "text", ["1", "1.2.840.10008.1.2", "2.25.329800735698586629295641978511506172918", "1.02.3", "1" * 64]
)
def test_a_uid_is_returned_as_it_is(text: str) -> None:
    assert checked_uid(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "1.", ".1", "1..2", "../../x", "/abs", "1/2", "1.2\\0.3", "1.2\r\nX: y", "1.2\n", " 1.2",
        "1.2\0", "1.2 ", "1.a", "1.٢", "1.²", "1" * 65, "1." * 2000 + "1",
    ],
)  # fmt: skip
def test_what_is_no_uid_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Malformed) as refused:
        checked_uid(text)
    assert len(text) < 5 or text not in str(refused.value)


def test_names_of_transfer_syntaxes_are_those_of_the_registry() -> None:
    registry = {uid: row[0] for uid, row in UID_dictionary.items() if row[1] == "Transfer Syntax"}
    newer = {f"1.2.840.10008.1.2.{suffix}" for suffix in ("4.110", "4.111", "4.112", "8.1")}
    assert {
        uid: syntax.name for uid, syntax in TRANSFER_SYNTAXES.items() if uid not in newer
    }.items() <= registry.items()


@pytest.mark.parametrize(
    ("uid", "explicit", "little_endian", "deflated", "encapsulated", "lossy", "video"),
    [
        ("1.2.840.10008.1.2", False, True, False, False, False, False),
        ("1.2.840.10008.1.2.1", True, True, False, False, False, False),
        ("1.2.840.10008.1.2.2", True, False, False, False, False, False),
        ("1.2.840.10008.1.2.1.99", True, True, True, False, False, False),
        ("1.2.840.10008.1.2.1.98", True, True, False, True, False, False),
        ("1.2.840.10008.1.2.5", True, True, False, True, False, False),
        ("1.2.840.10008.1.2.4.50", True, True, False, True, True, False),
        ("1.2.840.10008.1.2.4.70", True, True, False, True, False, False),
        ("1.2.840.10008.1.2.4.90", True, True, False, True, False, False),
        ("1.2.840.10008.1.2.4.91", True, True, False, True, True, False),
        ("1.2.840.10008.1.2.4.102.1", True, True, False, True, True, True),
        ("1.2.840.10008.1.2.4.108", True, True, False, True, True, True),
        ("1.2.840.10008.1.2.4.110", True, True, False, True, False, False),
        ("1.2.840.10008.1.2.4.203", True, True, False, True, True, False),
    ],
)
def test_transfer_syntax_says_how_a_data_set_is_written(
    uid: str, explicit: bool, little_endian: bool, deflated: bool, encapsulated: bool, lossy: bool, video: bool
) -> None:
    syntax = TRANSFER_SYNTAXES[uid]
    found = (syntax.explicit, syntax.little_endian, syntax.deflated, syntax.encapsulated, syntax.lossy, syntax.is_video)
    assert found == (explicit, little_endian, deflated, encapsulated, lossy, video)


def test_pixels_that_are_elsewhere_are_not_taken() -> None:
    assert not {"1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.7.1"} & TRANSFER_SYNTAXES.keys()


@pytest.mark.parametrize(
    ("sop_class_uid", "storage"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", True),  # CT
        ("1.2.840.10008.5.1.4.1.1.88.59", True),  # KOS
        ("1.2.840.10008.5.1.4.1.1.999.1", True),  # not defined yet
        ("1.2.840.10008.5.1.4.34.7", True),  # RT Beams Delivery Instruction
        ("1.2.826.0.1.3680043.1.2", True),  # private
        ("1.2.840.10008.1.1", False),  # Verification
        ("1.2.840.10008.1.3.10", False),  # DICOMDIR
        ("1.2.840.10008.1.20.1", False),  # Storage Commitment
        ("1.2.840.10008.5.1.4.1.2.2.1", False),  # Study Root FIND
        ("1.2.840.10008.5.1.4.38.1", False),  # Hanging Protocol: of no patient
        ("1.2.840.10008.5.1.4.1.1.200.1", False),  # CT Defined Procedure Protocol: of no patient
        ("1.2.840.10008.5.1.4.1.1.200.2", True),  # CT Performed Procedure Protocol
        ("1.2.840.10008.5.1.4.1.1.200.4", False),  # a FIND
        ("1.2.840.10008.5.1.4.1.1.201.6", False),  # Repository Query
    ],
)
def test_storage_classes_are_those_of_a_patient(sop_class_uid: str, storage: bool) -> None:
    assert is_storage(sop_class_uid) is storage
