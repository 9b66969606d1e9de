"""What is served in the benchmark: CT uncompressed and in JPEG-LS, headers alone, and one object of a GiB."""

import struct
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from corpus import ROOT, SIDE, make_corpus, make_headers
from pydicom.encaps import encapsulate

from drimbox.dicom.part10 import build_preface

JPEG_LS = "1.2.840.10008.1.2.4.80"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_FRAMES = 2048
CT, LS, HEADERS, BIG = "ct", "jpeg-ls", "headers", "big"


@dataclass(frozen=True)
class ServeCorpus:
    """folders: of Part 10 files, by name. counts: instances of each; each is one study of one series."""

    folder: Path
    counts: dict[str, int]

    @property
    def folders(self) -> list[Path]:
        return [self.folder / name for name in self.counts]

    def series(self, name: str) -> str:
        study, series = _uids(name)
        return f"/dicom-web/studies/{study}/series/{series}"

    def instance(self, name: str, number: int) -> str:
        return f"{self.series(name)}/instances/{_uids(name)[1]}.{number + (1000 if name == HEADERS else 0)}"


def _uids(name: str) -> tuple[str, str]:
    study = {CT: f"{ROOT}.1", LS: f"{ROOT}.20", HEADERS: f"{ROOT}.8.1000001", BIG: f"{ROOT}.30"}[name]
    return study, f"{study}.1"


def make(folder: Path, ct: int, ls: int, headers: int) -> ServeCorpus:
    """Write it, unless it is there."""
    corpus = ServeCorpus(folder, {CT: ct, LS: ls, HEADERS: headers, BIG: 1})
    if (folder / "whole").exists():
        return corpus
    made = make_corpus(folder / "made", 1, ct)
    (folder / "made" / "series1").rename(folder / CT)
    first = folder / CT / made.files[0][0].name
    (folder / LS).mkdir()
    for number in range(1, ls + 1):
        _write_jpeg_ls(folder / CT / f"{(number - 1) % ct + 1:05}.dcm", folder / LS / f"{number:05}.dcm", number)
    (folder / HEADERS).mkdir()
    for number, one in enumerate(make_headers(headers, 1, headers), start=1):
        content = build_preface(one.sop_class_uid, one.sop_uid, EXPLICIT) + one.content
        (folder / HEADERS / f"{number:05}.dcm").write_bytes(content)
    (folder / BIG).mkdir()
    _write_big(first, folder / BIG / "1.dcm")
    (folder / "whole").touch()
    return corpus


def _renamed(source: Path, name: str, number: int) -> pydicom.Dataset:
    data_set = pydicom.dcmread(source)
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = _uids(name)
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = f"{_uids(name)[1]}.{number}"
    data_set.InstanceNumber = number
    return data_set


def _write_jpeg_ls(source: Path, target: Path, number: int) -> None:
    data_set = _renamed(source, LS, number)
    pixels = np.frombuffer(data_set.PixelData, "<u2").reshape(SIDE, SIDE)
    data_set.file_meta.TransferSyntaxUID = JPEG_LS
    data_set.PixelData = encapsulate([bytes(imagecodecs.jpegls_encode(pixels))])
    data_set["PixelData"].is_undefined_length = True
    data_set.save_as(target)


def _write_big(source: Path, target: Path) -> None:
    """The header, then Pixel Data a frame at a time."""
    data_set = _renamed(source, BIG, 1)
    data_set.NumberOfFrames = BIG_FRAMES
    frame = np.frombuffer(data_set.PixelData, "<u2")
    del data_set.PixelData
    data_set.save_as(target)
    with target.open("ab") as file:
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, BIG_FRAMES * frame.nbytes))
        for number in range(BIG_FRAMES):
            file.write(np.roll(frame, number).tobytes())
