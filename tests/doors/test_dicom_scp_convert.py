"""What is kept in another transfer syntax than the receiver takes arrives nevertheless; pydicom judges what it became.

Each of these instances is received by C-GET and by C-MOVE, from receivers of one native syntax.
"""

import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import STUDY, ct
from pydicom import Dataset, FileDataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role

sys.path.append(str(Path(__file__).parent))
from dicom_query_stage import House, open_house

CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.22"
STUDY_GET, STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.2.2.2"
EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)
GETSCU = Path("/usr/bin/getscu")  # not pynetdicom's program of the same name


def shaped(number: int, **attributes: Any) -> FileDataset:
    """A slice with what a rewriter can get wrong: nested sequences, private values, text of another repertoire."""
    made = ct(1, number, SpecificCharacterSet="ISO_IR 100", PatientName="Oeuvré^Zoé", **attributes)
    inner, outer = Dataset(), Dataset()
    inner.CodeValue, inner.CodeMeaning = "113001", "déjà vu"
    outer.ConceptNameCodeSequence = Sequence([inner])
    outer.ReferencedSOPInstanceUID = "1.2.3"
    made.RequestAttributesSequence = Sequence([outer, Dataset()])
    block = made.private_block(0x0029, "DRIMBOX TEST", create=True)
    block.add_new(0x01, "LO", "private")
    block.add_new(0x02, "US", [1, 2, 3])
    made.LargestImagePixelValue = 1000  # US or SS
    made.PixelData = np.arange(256, dtype="<u2").tobytes()
    return made


def in_syntax(made: FileDataset, syntax: str) -> FileDataset:
    """The same, written otherwise by pydicom."""
    if syntax in (RLELossless, JPEGLSLossless):
        made.compress(syntax, generate_instance_uid=False)
        return made
    if syntax == ExplicitVRBigEndian:
        made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
        made.set_original_encoding(False, False)
    made.file_meta.TransferSyntaxUID = syntax
    return made


KEPT = [
    EXPLICIT, IMPLICIT, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless,
]  # fmt: skip


def written(made: FileDataset) -> FileDataset:
    """What pydicom reads of it, before it was ever here."""
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer)


class Arrived:
    """What a peer received: syntax and data set, by SOP Instance UID."""

    def __init__(self) -> None:
        self.data: dict[str, tuple[str, bytes]] = {}

    def take(self, event: Any) -> int:
        request = event.request
        self.data[request.AffectedSOPInstanceUID] = (event.context.transfer_syntax, request.DataSet.getvalue())
        return 0

    def read(self, sop_uid: str) -> FileDataset:
        syntax, data = self.data[sop_uid]
        read = dcmread(BytesIO(_part10(syntax, data)))
        assert isinstance(read, FileDataset)
        return read


def _part10(syntax: str, data: bytes) -> bytes:
    padded = syntax.encode() + b"\0" * (len(syntax) % 2)
    uid = b"\x02\x00\x10\x00UI" + len(padded).to_bytes(2, "little") + padded
    return bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00" + len(uid).to_bytes(4, "little") + uid + data


def get(house: House, classes: tuple[str, ...], syntax: str) -> tuple[Arrived, list[Any]]:
    arrived = Arrived()
    ae = AE("PEER")
    ae.add_requested_context(STUDY_GET)
    for one in classes:
        ae.add_requested_context(one, syntax)
    roles = [build_role(one, scp_role=True) for one in classes]
    association = ae.associate(*house.stage.place, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, arrived.take)])
    assert association.is_established
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", STUDY
    try:
        return arrived, list(association.send_c_get(asked, STUDY_GET))
    finally:
        association.release()


def move(folder: Path, instances: list[FileDataset], syntax: str) -> tuple[Arrived, list[Any]]:
    """To a destination that takes CT in one syntax."""
    arrived = Arrived()
    there = AE("THIRD")
    there.add_supported_context(CT, syntax)
    server = there.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, arrived.take)])
    destinations = [{"ae_title": "THIRD", "host": "127.0.0.1", "port": server.socket.getsockname()[1]}]
    try:
        with open_house(folder, destinations=destinations) as house:
            for made in instances:
                house.keep(made)
            ae = AE("PEER")
            ae.add_requested_context(STUDY_MOVE)
            association = ae.associate(*house.stage.place)
            asked = Dataset()
            asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", STUDY
            responses = list(association.send_c_move(asked, "THIRD", STUDY_MOVE))
            association.release()
    finally:
        server.shutdown()
    return arrived, responses


def same(received: FileDataset, sent: FileDataset) -> None:
    """Every element but the pixels has the value it had, and so have the pixels."""
    assert np.array_equal(received.pixel_array, sent.pixel_array)
    for one in (received, sent):
        del one.PixelData
    for element in sent:
        if element.tag.is_private:
            continue  # without its VR it can only be compared as bytes
        assert received[element.tag].value == element.value, element.tag
    assert {element.tag for element in received} == {element.tag for element in sent}
    assert received.private_block(0x0029, "DRIMBOX TEST")[0x01].value in ("private", b"private ")


@pytest.fixture(scope="module")
def sent() -> dict[str, FileDataset]:
    return {syntax: in_syntax(shaped(number), syntax) for number, syntax in enumerate(KEPT, 1)}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, sent: dict[str, FileDataset]) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("house")) as house:
        for made in sent.values():
            house.keep(made)
        yield house


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_get_gives_everything_in_the_syntax_that_is_taken(
    house: House, sent: dict[str, FileDataset], syntax: str
) -> None:
    arrived, responses = get(house, (CT,), syntax)
    assert responses[-1][0].Status == 0x0000
    assert {taken for taken, _ in arrived.data.values()} == {syntax}
    for made in sent.values():
        same(arrived.read(made.SOPInstanceUID), written(made))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_move_gives_everything_in_the_syntax_that_is_taken(
    tmp_path: Path, sent: dict[str, FileDataset], syntax: str
) -> None:
    arrived, responses = move(tmp_path / "house", list(sent.values()), syntax)
    assert responses[-1][0].Status == 0x0000
    assert {taken for taken, _ in arrived.data.values()} == {syntax}
    for made in sent.values():
        same(arrived.read(made.SOPInstanceUID), written(made))


def test_what_is_taken_as_it_is_kept_goes_so(house: House, sent: dict[str, FileDataset]) -> None:
    arrived, _ = get(house, (CT,), str(RLELossless))
    kept = house.kept(STUDY)
    uid = sent[RLELossless].SOPInstanceUID
    assert set(arrived.data) == {uid}  # nothing is compressed for C-GET
    assert arrived.data[uid] == (RLELossless, kept[uid])


def test_a_document_and_a_large_multi_frame(tmp_path: Path) -> None:
    report = ct(2, 1, SOPClassUID=SR, Modality="SR", PixelData=None, Rows=None, Columns=None)
    report.file_meta.MediaStorageSOPClassUID = SR
    frames = np.random.default_rng(1).integers(0, 4096, (40, 512, 512), dtype="<u2")  # 20 MiB: streamed
    large = ct(3, 1, NumberOfFrames=40, Rows=512, Columns=512, PixelData=frames.tobytes())
    large.compress(RLELossless, generate_instance_uid=False)
    with open_house(tmp_path / "house") as house:
        house.keep(report)
        house.keep(large)
        arrived, responses = get(house, (CT, SR), IMPLICIT)
    assert responses[-1][0].Status == 0x0000
    assert arrived.read(report.SOPInstanceUID).StudyDescription == "TDM thorax"
    assert np.array_equal(arrived.read(large.SOPInstanceUID).pixel_array, frames)


def test_what_cannot_be_decoded_fails_alone(tmp_path: Path) -> None:
    video = ct(2, 1, PixelData=encapsulate([b"no video"]))
    broken = ct(3, 1, PixelData=encapsulate([b"no JPEG-LS"]))
    for made, syntax in ((video, MPEG2MPML), (broken, JPEGLSLossless)):
        made.file_meta.TransferSyntaxUID = syntax
        made["PixelData"].VR = "OB"
    with open_house(tmp_path / "house") as house:
        for made in (ct(1, 1), video, broken):
            house.keep(made)
        arrived, responses = get(house, (CT,), IMPLICIT)
    assert set(arrived.data) == {f"{STUDY}.1.1"}
    last, identifier = responses[-1]
    assert (last.Status, last.NumberOfFailedSuboperations, last.NumberOfCompletedSuboperations) == (0xB000, 2, 1)
    assert sorted(identifier.FailedSOPInstanceUIDList) == [f"{STUDY}.2.1", f"{STUDY}.3.1"]


@pytest.mark.skipif(not GETSCU.exists(), reason="DCMTK is not installed")
def test_getscu_gets_what_is_kept_in_implicit_vr(tmp_path: Path) -> None:
    """It proposes both native forms in one context: one is chosen, and much of the world is kept in the other."""
    with open_house(tmp_path / "house") as house:
        house.keep(in_syntax(shaped(1), IMPLICIT))
        house.keep(shaped(2))
        (tmp_path / "got").mkdir()
        host, port = house.stage.place
        subprocess.run(
            [str(GETSCU), "-S", "-od", str(tmp_path / "got"), "-k", "QueryRetrieveLevel=STUDY",
             "-k", f"StudyInstanceUID={STUDY}", host, str(port)],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    got = [dcmread(path) for path in sorted((tmp_path / "got").iterdir())]
    assert [it.InstanceNumber for it in got] == [1, 2]
    assert np.array_equal(got[0].pixel_array, got[1].pixel_array)
