"""Targets that read documents from outside for people: the body of a report, a medium of submissions."""

import io
import zipfile
from collections.abc import Callable, Iterator

from lxml import html
from media import a_set

from drimbox.errors import DrimboxError
from drimbox.flows.xdm_import import read_set
from drimbox.sandbox.ris import Study
from drimbox.sandbox.ris_document import build_cda
from drimbox.xds.cda_body import read_body
from drimbox.xds.xdm import read_metadata
from drimbox.xds.xdm_zip import ZipMedium, find_sets
from fuzz.web_targets import AT

_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "pre"),
    *("b", "i", "u", "em", "strong", "small", "sub", "sup", "ol", "ul", "li", "img"),
    *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"),
}
_ATTRIBUTES = frozenset({"lang", "charset", "alt", "src", "colspan", "rowspan"})


def a_report(content: bytes) -> None:
    """The body of a CDA; a page of it has nothing but what we write."""
    try:
        body = read_body(content)
    except DrimboxError:
        return
    if body.media_type.startswith("text/html"):
        for node in html.document_fromstring(body.content.decode()).iter():
            assert node.tag in _TAGS, node.tag
            assert not set(node.attrib) - _ATTRIBUTES
            assert node.get("src", "data:image/").startswith("data:image/")


def a_medium(content: bytes) -> None:
    """A ZIP of submission sets, or METADATA.XML alone; what was read of it is read again."""
    try:
        if not content.startswith(b"PK"):
            read = read_metadata(content)
            assert read_metadata(read.metadata).documents == read.documents
            return
        medium = ZipMedium(io.BytesIO(content), most_files=100, most_bytes=1 << 24)
        for name in find_sets(medium):
            for found in read_set(medium, name):
                assert found.manifest.uid
    except DrimboxError:
        return


DOCUMENT_TARGETS: dict[str, Callable[[bytes], None]] = {"report": a_report, "medium": a_medium}


def document_seeds(target: str) -> Iterator[bytes]:
    if target == "report":
        cda = build_cda((Study("1.2.3", "PID1", "ACC1"),), AT)
        yield cda
        start, end = cda.index(b"<component><nonXMLBody>"), cda.rindex(b"</ClinicalDocument>")
        picture = (
            '<entry><observationMedia ID="m"><value mediaType="image/gif">R0lGODlh</value></observationMedia></entry>'
        )
        text = '<list listType="ordered"><item><content styleCode="Bold">a</content><br/></item></list><paragraph/>'
        text += (
            '<table><caption>b</caption><tr><td colspan="2">c</td></tr></table><renderMultiMedia referencedObject="m"/>'
        )
        section = (
            f"<component><section><title>d</title><text>{text}</text><entry>{picture}</entry></section></component>"
        )
        yield cda[:start] + f"<component><structuredBody>{section}</structuredBody></component>".encode() + cda[end:]
    if target == "medium":
        files = a_set()
        yield files["METADATA.XML"]
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", method) as archive:
                for name, written in files.items():
                    archive.writestr(f"IHE_XDM/SS000001/{name}", written)
            yield buffer.getvalue()
