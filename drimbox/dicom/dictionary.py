"""The VR of a tag, for where it is not written: implicit VR and queries (PS3.6, through pydicom's copy of it)."""

from typing import Final

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary

US_OR_SS: Final = "US or SS"  # as Pixel Representation (0028,0103) says, which only a reader of the values knows

# Where else the dictionary leaves a choice, the form that loses nothing.
_CHOICE = {
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


def vr_of(tag: int) -> str:
    """The VR of `tag` (group << 16 | element), or US_OR_SS; UN for private and unknown ones."""
    known = KNOWN.get(tag)
    if known is not None:
        return known
    if tag & 0x0000FFFF == 0:
        return "UL"  # a group length, retired (PS3.5 §7.2)
    if tag & 0x00010000:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"  # a private creator (PS3.5 §7.8.1), or private
    return _REPEATED.get(tag & 0xFF00FFFF, "UN")
