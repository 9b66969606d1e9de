"""The one place where XML from outside is parsed for XDS and the DMP.

No DOCTYPE at all: without one there is no entity to expand and nothing outside to fetch (reliability-security.md 3.4).
"""

from collections.abc import Mapping

from lxml import etree

from drimbox.errors import Malformed, TooLarge
from drimbox.xds import codes

MAX_DEPTH = 100
_CHUNK = 16384


def read_xml(data: bytes, what: str, max_bytes: int) -> etree._Element:
    """Parse a whole document and return its root.

    what: the name of the thing in errors. Raises TooLarge, and Malformed on a DOCTYPE, a depth over 100, or XML that
    is not well formed.
    """
    if len(data) > max_bytes:
        raise TooLarge(what, f"over {max_bytes} bytes")
    # A feed parser with events sees the DOCTYPE and the depth before the rest of the document is built.
    parser = etree.XMLPullParser(
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        huge_tree=False,
        load_dtd=False,
        dtd_validation=False,
        remove_comments=True,
        remove_pis=True,
    )
    depth = 0
    root: etree._Element | None = None
    try:
        for start in range(0, len(data), _CHUNK):
            parser.feed(data[start : start + _CHUNK])
            for event, element in parser.read_events():
                if root is None and isinstance(element, etree._Element):
                    root = element
                    if root.getroottree().docinfo.internalDTD is not None:
                        raise Malformed(what, "a DOCTYPE is refused")
                depth += 1 if event == "start" else -1
                if depth > MAX_DEPTH:
                    raise Malformed(what, f"nested deeper than {MAX_DEPTH}")
        parser.close()
    except (etree.XMLSyntaxError, ValueError) as error:  # ValueError: an unknown encoding
        raise Malformed(what, "not well-formed XML") from error
    if root is None:
        raise Malformed(what, "empty")
    return root


def added(
    parent: etree._Element, namespace: str, name: str, attributes: Mapping[str, str] | None = None, text: str = ""
) -> etree._Element:
    """Add a child element and return it. Raises Malformed on text that XML 1.0 cannot carry."""
    child = etree.SubElement(parent, f"{{{namespace}}}{name}")
    try:
        for key, value in (attributes or {}).items():
            child.set(key, value)
        if text:
            child.text = text
    except ValueError as error:
        raise Malformed("metadata", "a value holds a control character") from error
    return child


def written(root: etree._Element) -> bytes:
    """Serialise as UTF-8 with its XML declaration, white space untouched: a signature may cover it."""
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


NAMESPACES = {
    "soap": codes.SOAP,
    "wsa": codes.WSA,
    "wsse": codes.WSSE,
    "xop": codes.XOP,
    "rim": codes.RIM,
    "rs": codes.RS,
    "lcm": codes.LCM,
    "query": codes.QUERY,
    "xdsb": codes.XDSB,
    "hl7": codes.HL7,
}
