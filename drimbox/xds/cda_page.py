"""The narrative of a CDA as a page of HTML that can do nothing (HL7 CDA R2 §4.3.5, the narrative block).

Each element we know is written by us, its text escaped; of every other one only the text is kept. No attribute of the
document reaches the page but the span of table cells, no address is followed, no style or script is taken over.
"""

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final

from lxml import etree

from drimbox.xds.cda_xml import CDA

Pictures = Callable[[etree._Element], tuple[str, bytes] | None]

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#111;background:#fff;max-width:50rem;margin:2rem auto}"
    "header{border-bottom:1px solid #999;margin-bottom:1.5rem;color:#333}h1{font-size:1.3rem}h2,h3{font-size:1.1rem}"
    "table{border-collapse:collapse}td,th{border:1px solid #999;padding:.2rem .5rem;vertical-align:top;text-align:left}"
    "img{max-width:100%}pre{white-space:pre-wrap;font:inherit}"
)
PAGE_POLICY: Final = (
    "sandbox; default-src 'none'; img-src data:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
"""The Content-Security-Policy the page is to be served with."""

_SIMPLE: Final = {  # element of the narrative -> ours
    "paragraph": "p",
    "caption": "strong",
    "item": "li",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tfoot": "tfoot",
    "tr": "tr",
    "th": "th",
    "td": "td",
    "sub": "sub",
    "sup": "sup",
    "footnote": "small",
}
_STYLE_CODES: Final = {"Bold": "b", "Italics": "i", "Underline": "u", "Emphasis": "em"}
_LEFT_OUT: Final = frozenset({"col", "colgroup"})
_MOST_SPAN: Final = 1000


def build_page(body: etree._Element, heading: Sequence[str], pictures: Pictures) -> bytes:
    """The sections of a structuredBody, their titles and pictures. pictures: what an observationMedia holds."""
    media = {node.get("ID", ""): node for node in body.iter(f"{CDA}observationMedia")}

    def picture(name: str) -> str:
        node = media.get(name)
        found = pictures(node) if node is not None else None
        if found is None:
            return "<p>[…]</p>"
        return f'<img alt="" src="data:{found[0]};base64,{base64.b64encode(found[1]).decode()}">'

    sections = (section for component in body.iterchildren(f"{CDA}component") for section in _sections(component))
    return _page(heading, "".join("".join(_section(section, 2, picture)) for section in sections))


def build_text_page(text: str, heading: Sequence[str]) -> bytes:
    """Plain text, as it is laid out."""
    return _page(heading, f"<pre>{escape(text)}</pre>")


def _page(heading: Sequence[str], inner: str) -> bytes:
    title = escape(heading[0]) if heading else ""
    lines = "".join(f"<p>{escape(line)}</p>" for line in heading[1:])
    top = f"<header><h1>{title}</h1>{lines}</header>" if heading else ""
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="fr"><head>{head}</head><body>{top}{inner}</body></html>'.encode()


def _sections(component: etree._Element) -> Iterator[etree._Element]:
    yield from component.iterchildren(f"{CDA}section")


def _section(section: etree._Element, level: int, picture: Callable[[str], str]) -> Iterator[str]:
    title = section.find(f"{CDA}title")
    if title is not None:
        yield f"<h{level}>{escape(text_of(title))}</h{level}>"
    text = section.find(f"{CDA}text")
    if text is not None:
        yield _inner(text, picture)
    for component in section.iterchildren(f"{CDA}component"):
        for below in _sections(component):
            yield from _section(below, min(level + 1, 6), picture)


def text_of(node: etree._Element) -> str:
    """All the text in an element."""
    return "".join(str(text) for text in node.itertext())


def _inner(node: etree._Element, picture: Callable[[str], str]) -> str:
    parts = [escape(node.text or "")]
    for child in node:
        parts += [_written(child, picture), escape(child.tail or "")]
    return "".join(parts)


def _written(node: etree._Element, picture: Callable[[str], str]) -> str:
    name = str(node.tag).removeprefix(CDA)
    if name == "br":
        return "<br>"
    if name in _LEFT_OUT:
        return ""
    if name == "renderMultiMedia":
        shown = "".join(picture(reference) for reference in node.get("referencedObject", "").split())
        return shown + _inner(node, picture)
    inner = _inner(node, picture)
    if name == "list":
        ours = "ol" if node.get("listType") == "ordered" else "ul"
        return f"<{ours}>{inner}</{ours}>"
    if name == "content":
        for code in node.get("styleCode", "").split():
            if ours := _STYLE_CODES.get(code, ""):
                inner = f"<{ours}>{inner}</{ours}>"
        return inner
    ours = "caption" if name == "caption" and _is_table(node.getparent()) else _SIMPLE.get(name, "")
    return f"<{ours}{_spans(node, ours)}>{inner}</{ours}>" if ours else inner


def _spans(node: etree._Element, ours: str) -> str:
    """How many columns and rows a cell covers."""
    if ours not in ("td", "th"):
        return ""
    told = ((name, node.get(name, "")) for name in ("colspan", "rowspan"))
    return "".join(
        f' {name}="{int(value)}"'
        for name, value in told
        if value.isascii() and value.isdigit() and len(value) < 5 and 0 < int(value) <= _MOST_SPAN
    )


def _is_table(node: etree._Element | None) -> bool:
    return node is not None and node.tag == f"{CDA}table"
