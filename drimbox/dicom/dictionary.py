"""The VR of a tag, for where it is not written: implicit VR and queries (PS3.6, through pydicom's copy of it)."""

from typing import Final

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary

# Where the dictionary leaves a choice, the form that loses nothing; US or SS is settled by the reader of the values.
_CHOICE = {
    "US or SS": "US",
    "US or OW": "OW",
    "US or SS or OW": "OW",
    "OB or OW": "OW",
    "NONE": "UN",
}

KNOWN: Final[dict[int, str]] = {tag: _CHOICE.get(row[0], row[0]) for tag, row in DicomDictionary.items()}
# 0028xxyy masks only matter to retired compression; 50xx and 60xx are curves and overlays, sixteen of each.
_REPEATED: Final[dict[int, str]] = {
    int(mask.replace("xx", "00"), 16): _CHOICE.get(row[0], row[0])
    for mask, row in RepeatersDictionary.items()
    if mask[2:4] == "xx"
}

SIGNED_IF_PIXELS_ARE: Final[frozenset[int]] = frozenset(
    tag for tag, row in DicomDictionary.items() if row[0] in ("US or SS", "US or SS or OW")
)


def vr_of(tag: int) -> str:
    """The VR of `tag` (group << 16 | element); UN for private and unknown ones.

    "US or SS" gives US: see SIGNED_IF_PIXELS_ARE, the tags that follow Pixel Representation (0028,0103).
    """
    known = KNOWN.get(tag)
    if known is not None:
        return known
    if tag & 0x0000FFFF == 0:
        return "UL"  # a group length, retired (PS3.5 §7.2)
    if tag & 0x00010000:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"  # a private creator (PS3.5 §7.8.1), or private
    return _REPEATED.get(tag & 0xFF00FFFF, "UN")
