"""From the rows of an archive to the series of a manifest."""

from collections.abc import Iterable
from typing import Any

from drimbox.dicom.attributes import integer, text
from drimbox.kos.manifest import ManifestInstance, ManifestSeries


def gather_series(items: Iterable[dict[str, Any]], base: str) -> tuple[ManifestSeries, ...]:
    """Group instances, as DICOM JSON items in the order they are shown, into series in the same order.

    base: URL of the study's series, without the last slash; each series is retrieved from `base/SeriesInstanceUID`.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        groups.setdefault(text(item, "0020000E"), []).append(item)
    return tuple(_series(series_uid, items, f"{base}/{series_uid}") for series_uid, items in groups.items())


def _series(series_uid: str, items: list[dict[str, Any]], retrieve_url: str) -> ManifestSeries:
    first = items[0]
    return ManifestSeries(
        series_uid=series_uid,
        modality=text(first, "00080060"),
        number=integer(first, "00200011"),
        description=text(first, "0008103E"),
        retrieve_url=retrieve_url,
        instances=tuple(
            ManifestInstance(
                sop_class_uid=text(item, "00080016"),
                sop_uid=text(item, "00080018"),
                number=integer(item, "00200013"),
                frames=integer(item, "00280008"),
            )
            for item in items
        ),
        date=text(first, "00080021"),
        time=text(first, "00080031"),
    )
