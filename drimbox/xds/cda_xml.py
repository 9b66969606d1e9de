"""The tree of a CDA R2 that came from outside, within bounds. What is read of it: `cda_body.py`, `hl7/cda.py`."""

import re
from collections.abc import Callable
from typing import Final

from lxml import etree

from drimbox.errors import Malformed, TooLarge

CDA: Final = "{urn:hl7-org:v3}"
_MAX_MARKS: Final = (
    400_000  # tags and attributes: the largest report seen has 12,000; each costs some 100 bytes of tree
)
# The PDF and the pictures of a report: base64, with its line ends written as references or not. No prose, and no
# header, has such a run.
_CONTENT: Final = re.compile(rb"(?<![A-Za-z0-9+/=\s&#;])[A-Za-z0-9+/=\s&#;]{65536,}")


def parse_cda(data: bytes, place: Callable[[re.Match[bytes]], bytes]) -> etree._Element:
    """The ClinicalDocument, whatever the size of the PDF and pictures in it. Raises Malformed, TooLarge.

    place: what stands in the tree for a long run of base64. A document type declaration is refused whatever it holds:
    CDA has none, entities and external files begin there.
    """
    if b"\0" in data:  # UTF-16 and UTF-32 would hide a DOCTYPE from the next line
        raise Malformed("CDA", "not in UTF-8 nor in ISO 8859")
    if re.search(rb"<!DOCTYPE", data, re.IGNORECASE):
        raise Malformed("CDA", "it has a DOCTYPE: refused")
    if data.count(b"<") + data.count(b"=") > _MAX_MARKS:
        raise TooLarge("CDA", f"more than {_MAX_MARKS} tags and attributes")
    # libxml2 refuses a text over 10 million characters, and its other guards are not worth losing to lift that one.
    # No such run holds a character that ends markup, and a blank or a token holds apart what stood on its two sides.
    data = _CONTENT.sub(place, data)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        # The parser quotes the text it stumbles on: its message would put a patient in the log.
        raise Malformed("CDA", "not well-formed XML, or a text in it is over 10 million characters") from error
    if root.getroottree().docinfo.internalDTD is not None:  # one written in an encoding the search above cannot read
        raise Malformed("CDA", "it has a DOCTYPE: refused")
    if root.tag != f"{CDA}ClinicalDocument":
        raise Malformed("CDA", "the root element is not ClinicalDocument of HL7 v3")
    return root
