"""UIDs: their grammar, the transfer syntaxes we can keep, the SOP classes that may be stored.

Sources: PS3.5 §9 (UIDs), PS3.5 annex A and PS3.6 annex A (transfer syntaxes), PS3.4 annex B (storage SOP classes).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from drimbox.errors import Malformed

IMPLEMENTATION_CLASS_UID: Final = "2.25.191597028720886902654296486146799348785"
IMPLEMENTATION_VERSION_NAME: Final = "DRIMBOX"

IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
EXPLICIT_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"

_UID = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)
_MOST_CHARACTERS = 64


def is_uid(text: str) -> bool:
    """Is `text` safe to use as a UID? Looser than PS3.5 §9.1 on purpose: modalities in service send leading zeros."""
    return len(text) <= _MOST_CHARACTERS and _UID.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def checked_uid(text: str) -> str:
    """Return `text` if it is safe to use as a UID, else raise Malformed."""
    if not is_uid(text):
        raise Malformed("uid", f"{len(text)} characters, not digits and dots, at most {_MOST_CHARACTERS}")
    return text


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How a data set is written (PS3.5 annex A).

    explicit: VRs are written. encapsulated: Pixel Data are fragments. lossy: frames may have lost something.
    """

    uid: str
    name: str
    explicit: bool = True
    little_endian: bool = True
    deflated: bool = False
    encapsulated: bool = True
    lossy: bool = False

    @property
    def is_video(self) -> bool:
        """One compressed stream holds all frames: no frame can be cut out of it (PS3.5 §8.2)."""
        return self.uid.startswith(_VIDEO)


# MPEG2 and H.264 .100 to .106, HEVC .107 and .108; no other standard UID starts so.
_VIDEO = "1.2.840.10008.1.2.4.10"


def _lossless(suffix: str, name: str) -> TransferSyntax:
    return TransferSyntax(f"{IMPLICIT_LITTLE_ENDIAN}.{suffix}", name)


def _lossy(suffix: str, name: str) -> TransferSyntax:
    return TransferSyntax(f"{IMPLICIT_LITTLE_ENDIAN}.{suffix}", name, lossy=True)


_H264 = "MPEG-4 AVC/H.264"

# Left out: syntaxes whose pixels are elsewhere (JPIP, SMPTE 2110) or that are not a data set (RFC 2557, XML, Papyrus).
_KNOWN = (
    TransferSyntax(IMPLICIT_LITTLE_ENDIAN, "Implicit VR Little Endian", explicit=False, encapsulated=False),
    TransferSyntax(EXPLICIT_LITTLE_ENDIAN, "Explicit VR Little Endian", encapsulated=False),
    _lossless("1.98", "Encapsulated Uncompressed Explicit VR Little Endian"),
    TransferSyntax(
        DEFLATED_EXPLICIT_LITTLE_ENDIAN, "Deflated Explicit VR Little Endian", deflated=True, encapsulated=False
    ),
    TransferSyntax(EXPLICIT_BIG_ENDIAN, "Explicit VR Big Endian", little_endian=False, encapsulated=False),
    _lossy("4.50", "JPEG Baseline (Process 1)"),
    _lossy("4.51", "JPEG Extended (Process 2 and 4)"),
    _lossy("4.52", "JPEG Extended (Process 3 and 5)"),
    _lossy("4.53", "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)"),
    _lossy("4.54", "JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9)"),
    _lossy("4.55", "JPEG Full Progression, Non-Hierarchical (Process 10 and 12)"),
    _lossy("4.56", "JPEG Full Progression, Non-Hierarchical (Process 11 and 13)"),
    _lossless("4.57", "JPEG Lossless, Non-Hierarchical (Process 14)"),
    _lossless("4.58", "JPEG Lossless, Non-Hierarchical (Process 15)"),
    _lossy("4.59", "JPEG Extended, Hierarchical (Process 16 and 18)"),
    _lossy("4.60", "JPEG Extended, Hierarchical (Process 17 and 19)"),
    _lossy("4.61", "JPEG Spectral Selection, Hierarchical (Process 20 and 22)"),
    _lossy("4.62", "JPEG Spectral Selection, Hierarchical (Process 21 and 23)"),
    _lossy("4.63", "JPEG Full Progression, Hierarchical (Process 24 and 26)"),
    _lossy("4.64", "JPEG Full Progression, Hierarchical (Process 25 and 27)"),
    _lossless("4.65", "JPEG Lossless, Hierarchical (Process 28)"),
    _lossless("4.66", "JPEG Lossless, Hierarchical (Process 29)"),
    _lossless("4.70", "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])"),
    _lossless("4.80", "JPEG-LS Lossless Image Compression"),
    _lossy("4.81", "JPEG-LS Lossy (Near-Lossless) Image Compression"),
    _lossless("4.90", "JPEG 2000 Image Compression (Lossless Only)"),
    _lossy("4.91", "JPEG 2000 Image Compression"),
    _lossless("4.92", "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)"),
    _lossy("4.93", "JPEG 2000 Part 2 Multi-component Image Compression"),
    _lossy("4.100", "MPEG2 Main Profile / Main Level"),
    _lossy("4.100.1", "Fragmentable MPEG2 Main Profile / Main Level"),
    _lossy("4.101", "MPEG2 Main Profile / High Level"),
    _lossy("4.101.1", "Fragmentable MPEG2 Main Profile / High Level"),
    _lossy("4.102", f"{_H264} High Profile / Level 4.1"),
    _lossy("4.102.1", f"Fragmentable {_H264} High Profile / Level 4.1"),
    _lossy("4.103", f"{_H264} BD-compatible High Profile / Level 4.1"),
    _lossy("4.103.1", f"Fragmentable {_H264} BD-compatible High Profile / Level 4.1"),
    _lossy("4.104", f"{_H264} High Profile / Level 4.2 For 2D Video"),
    _lossy("4.104.1", f"Fragmentable {_H264} High Profile / Level 4.2 For 2D Video"),
    _lossy("4.105", f"{_H264} High Profile / Level 4.2 For 3D Video"),
    _lossy("4.105.1", f"Fragmentable {_H264} High Profile / Level 4.2 For 3D Video"),
    _lossy("4.106", f"{_H264} Stereo High Profile / Level 4.2"),
    _lossy("4.106.1", f"Fragmentable {_H264} Stereo High Profile / Level 4.2"),
    _lossy("4.107", "HEVC/H.265 Main Profile / Level 5.1"),
    _lossy("4.108", "HEVC/H.265 Main 10 Profile / Level 5.1"),
    _lossless("4.110", "JPEG XL Lossless"),
    _lossy("4.111", "JPEG XL JPEG Recompression"),
    _lossy("4.112", "JPEG XL"),
    _lossless("4.201", "High-Throughput JPEG 2000 Image Compression (Lossless Only)"),
    _lossless("4.202", "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)"),
    _lossy("4.203", "High-Throughput JPEG 2000 Image Compression"),
    _lossless("5", "RLE Lossless"),
    _lossless("8.1", "Deflated Image Frame Compression"),
)

TRANSFER_SYNTAXES: Final[Mapping[str, TransferSyntax]] = MappingProxyType({syntax.uid: syntax for syntax in _KNOWN})

_STANDARD = "1.2.840.10008."
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Storage classes outside the branch above: RT instructions, and retired hardcopies still found on archives.
_ELSEWHERE = frozenset(
    {
        "1.2.840.10008.5.1.4.34.1",
        "1.2.840.10008.5.1.4.34.7",
        "1.2.840.10008.5.1.4.34.10",
        "1.2.840.10008.5.1.1.27",
        "1.2.840.10008.5.1.1.29",
        "1.2.840.10008.5.1.1.30",
    }
)
# Objects of no patient, thus of no study, and query services in the same branch (PS3.4 annexes GG, JJ).
_PROTOCOLS = frozenset(f"{_STORAGE}200.{number}" for number in (1, 3, 4, 5, 6, 7))
_INVENTORY = f"{_STORAGE}201."


def is_storage(sop_class_uid: str) -> bool:
    """Can an instance of this SOP class be kept: a storage class for a patient's study, or a private class?

    The whole branch of PS3.4 table B.5-1 is accepted, so that a class newer than this program is kept too.
    """
    if sop_class_uid.startswith(_STORAGE):
        return sop_class_uid not in _PROTOCOLS and not sop_class_uid.startswith(_INVENTORY)
    return sop_class_uid in _ELSEWHERE or not sop_class_uid.startswith(_STANDARD)
