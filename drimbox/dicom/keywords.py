"""The keywords of PS3.6 §6, which DICOMweb uses as names of attributes: `PatientName` for 00100010."""

from pydicom.datadict import tag_for_keyword


def find_tag(keyword: str) -> str | None:
    """The tag of `keyword` as 8 upper-case hexadecimal digits, None when the dictionary does not have it."""
    tag = tag_for_keyword(keyword) if keyword else None  # the dictionary has nameless entries
    return None if tag is None else f"{tag:08X}"
