"""The keywords of PS3.6 §6, which DICOMweb uses as names of attributes: `PatientName` for 00100010."""

from functools import lru_cache

from pydicom.datadict import keyword_for_tag, tag_for_keyword


def find_tag(keyword: str) -> str | None:
    """The tag of `keyword` as 8 upper-case hexadecimal digits, None when the dictionary does not have it."""
    tag = tag_for_keyword(keyword) if keyword else None  # the dictionary has nameless entries
    return None if tag is None else f"{tag:08X}"


@lru_cache(maxsize=8192)
def keyword_of(tag: str) -> str:
    """The keyword of a tag of 8 hexadecimal digits, empty for private and unknown ones."""
    return keyword_for_tag(int(tag, 16))
