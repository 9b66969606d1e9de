"""What an object of a registry says, read by name (ebRIM 3.0). What is not told is empty."""

from lxml import etree

from drimbox.model import Code
from drimbox.xds import codes
from drimbox.xds.xml import NAMESPACES

AUTHOR = f"rim:Classification[@classificationScheme='{codes.ENTRY_AUTHOR}']/"
"""Where the slots about the author of a document are."""


def read_slots(node: etree._Element) -> dict[str, tuple[str, ...]]:
    """All its slots at once, by name."""
    return {
        slot.get("name", ""): tuple(
            (value.text or "").strip() for value in slot.findall("rim:ValueList/rim:Value", NAMESPACES)
        )
        for slot in node.findall("rim:Slot", NAMESPACES)
    }


def read_slot(node: etree._Element, name: str, within: str = "") -> str:
    """The first value of one slot. within: path of what holds it, with a slash at its end."""
    found = node.findtext(f"{within}rim:Slot[@name='{name}']/rim:ValueList/rim:Value", "", NAMESPACES)
    return (found or "").strip()


def read_identifier(node: etree._Element, scheme: str) -> str:
    """Its external identifier of a scheme."""
    found = node.find(f"rim:ExternalIdentifier[@identificationScheme='{scheme}']", NAMESPACES)
    return found.get("value", "") if found is not None else ""


def read_codes(node: etree._Element, scheme: str) -> list[Code]:
    """Its classifications of a scheme."""
    return [
        Code(found.get("nodeRepresentation", ""), read_slot(found, "codingScheme"), read_name(found))
        for found in node.findall(f"rim:Classification[@classificationScheme='{scheme}']", NAMESPACES)
    ]


def read_code(node: etree._Element, scheme: str) -> Code | None:
    """The first of its classifications of a scheme."""
    return next(iter(read_codes(node, scheme)), None)


def read_name(node: etree._Element) -> str:
    """Its Name, in the first language."""
    found = node.find("rim:Name/rim:LocalizedString", NAMESPACES)
    return found.get("value", "") if found is not None else ""
