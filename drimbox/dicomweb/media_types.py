"""The media types of frames, by transfer syntax. Source: PS3.18 §8.7.3.3, tables 8.7.3-4 and 8.7.3-5. Pure."""

from drimbox.dicom.uid import TRANSFER_SYNTAXES

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
DICOM_XML = "application/dicom+xml"
JSON = "application/json"
OCTET_STREAM = "application/octet-stream"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

_JPEG = ("image/jpeg",)
_RLE = ("image/dicom-rle", "image/x-dicom-rle")  # the second name is of older editions; clients still send it
_JPEG_LS = ("image/jls", "image/x-jls")
_JPEG_2000 = ("image/jp2",)
_JPEG_2000_PART_2 = ("image/jpx",)
_HTJ2K = ("image/jphc", "image/jph")
_JPEG_XL = ("image/jxl",)
_MPEG2 = ("video/mpeg", "video/mpeg2")
_MPEG4 = ("video/mp4",)
_HEVC = ("video/h265", "video/mp4")

_UNDER_JPEG = "1.2.840.10008.1.2.4."
_BY_SUFFIX: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("50", "51", "57", "70"), _JPEG),
    **dict.fromkeys(("80", "81"), _JPEG_LS),
    **dict.fromkeys(("90", "91"), _JPEG_2000),
    **dict.fromkeys(("92", "93"), _JPEG_2000_PART_2),
    **dict.fromkeys(("100", "100.1", "101", "101.1"), _MPEG2),
    **dict.fromkeys(("102", "102.1", "103", "103.1", "104", "104.1", "105", "105.1", "106", "106.1"), _MPEG4),
    **dict.fromkeys(("107", "108"), _HEVC),
    **dict.fromkeys(("110", "111", "112"), _JPEG_XL),
    **dict.fromkeys(("201", "202", "203"), _HTJ2K),
}
_COMPRESSED: dict[str, tuple[str, ...]] = {
    "1.2.840.10008.1.2.5": _RLE,
    **{_UNDER_JPEG + suffix: names for suffix, names in _BY_SUFFIX.items()},
}


def frame_media_types(transfer_syntax: str) -> tuple[str, ...]:
    """What a frame in this syntax may be called, its own name first; `application/octet-stream` always closes the list.

    The octets of a private syntax have no other name.
    """
    return (*_COMPRESSED.get(transfer_syntax, ()), OCTET_STREAM)


def is_lossy(transfer_syntax: str) -> bool:
    """May pixels in this syntax have lost something? Unknown syntaxes: no."""
    known = TRANSFER_SYNTAXES.get(transfer_syntax)
    return known is not None and known.lossy
