"""A key object selection: images somebody points at, and why (PS3.3 §A.35.4; IHE RAD KIN)."""

from collections import deque

from pydicom import Dataset

from drimbox.dicom.uid import checked_uid
from drimbox.errors import TooLarge
from drimbox.kos import codes
from drimbox.kos.document import code_of, items_of, open_document, text_of, title_of
from drimbox.kos.manifest import MAX_INSTANCES, KeySelection
from drimbox.model import Code

_MAX_DEPTH = 32


def find_selection(data: bytes) -> KeySelection | None:
    """Read a KOS of Part 10; None when it is a rejection note or a manifest. Raises Malformed, TooLarge."""
    dataset = open_document(data)
    if title_of(dataset) in codes.REJECTION_NOTES | codes.MANIFEST_TITLES:
        return None
    images: dict[str, None] = {}
    comments: list[str] = []
    content: deque[tuple[Dataset, int]] = deque([(dataset, 0)])
    while content:
        item, depth = content.popleft()
        if title_of(item) == codes.KEY_OBJECT_DESCRIPTION.value:
            comments.append(text_of(item, "TextValue"))
        for reference in items_of(item, "ReferencedSOPSequence"):
            images[checked_uid(text_of(reference, "ReferencedSOPInstanceUID"))] = None
        if len(images) > MAX_INSTANCES:
            raise TooLarge("key object selection", f"more than {MAX_INSTANCES} instances")
        if depth < _MAX_DEPTH:
            content += [(child, depth + 1) for child in items_of(item, "ContentSequence")]
    return KeySelection(
        series_uid=checked_uid(text_of(dataset, "SeriesInstanceUID")),
        sop_uid=checked_uid(text_of(dataset, "SOPInstanceUID")),
        title=next(map(code_of, items_of(dataset, "ConceptNameCodeSequence")), Code("", "")),
        comment="\n".join(filter(None, comments)),
        images=tuple(images),
    )
