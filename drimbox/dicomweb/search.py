"""Answering a search (PS3.18 §10.6): one page of what matches, as JSON or as parts of XML."""

import asyncio
import gzip
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from drimbox.dicom.attributes import Attributes
from drimbox.dicom.found import RETRIEVE_URL, Found
from drimbox.dicom.match import Level
from drimbox.dicom.xml_model import build_xml
from drimbox.dicomweb.accept import accepts_gzip
from drimbox.dicomweb.answers import Answer
from drimbox.dicomweb.media_types import DICOM_XML
from drimbox.dicomweb.multipart import Multipart
from drimbox.dicomweb.qido import MORE, Search, choose_form, next_page, read_search
from drimbox.dicomweb.request import Request
from drimbox.flows.retrieve import Retrieve
from drimbox.problems import Headers

T = TypeVar("T")

STUDY_UID: Final = "0020000D"
SERIES_UID: Final = "0020000E"

_LEVELS: Final[dict[str, Level]] = {"studies": "study", "series": "series", "instances": "instance"}
_SMALL: Final = 8192  # bytes that are not worth packing


@dataclass(frozen=True)
class Searches:
    """The searches of one service. root: its public URL, without a slash at the end."""

    retrieve: Retrieve
    root: str

    async def answer(self, request: Request, resources: str, study: str = "", series: str = "") -> Answer:
        """resources: `studies`, `series` or `instances`, all of them or those of a study or a series."""
        media_type = choose_form(request.accept)
        within = {tag: uid for tag, uid in ((STUDY_UID, study), (SERIES_UID, series)) if uid}
        asked = read_search(_LEVELS[resources], within, request.parameters)
        path = "/".join(name for name in (study and "studies", study, series and "series", series, resources) if name)
        if media_type == DICOM_XML:
            found = await self.retrieve.find(request.credentials, asked.query, self._located)
            headers, page = self._page(found, asked, path, request)
            return await _answer_parts(headers, page)
        texts = await self.retrieve.find(request.credentials, asked.query, self._texts)
        headers, texts = self._page(texts, asked, path, request)
        headers.append((b"content-type", media_type.encode()))
        body = b"[" + b",".join(texts) + b"]"
        if len(body) < _SMALL or not accepts_gzip(request.headers.get("accept-encoding", "")):
            return Answer(200, headers, body)
        headers.append((b"content-encoding", b"gzip"))
        return Answer(200, headers, await asyncio.to_thread(gzip.compress, body, 1))

    def _located(self, found: Sequence[Found]) -> list[Attributes]:
        return [one.located(self.root) for one in found]

    def _texts(self, found: Sequence[Found]) -> list[bytes]:
        return [one.json(self.root) for one in found]

    def _page(self, found: list[T], asked: Search, path: str, request: Request) -> tuple[Headers, list[T]]:
        """What is said of a page (PS3.18 §8.3.4.4, RFC 8288), and the page; `found` has one more when there is more."""
        limit = asked.query.limit
        more = len(found) > limit
        warnings = (*asked.warnings, MORE) if more else asked.warnings
        headers: Headers = [(b"warning", f'299 {self.root} "{warning}"'.encode()) for warning in warnings]
        if more and limit:
            url = f"{self.root}/{path}?{next_page(request.parameters, asked.query)}"
            headers.append((b"link", f'<{url}>; rel="next"'.encode()))
        return headers, found[:limit]


async def _answer_parts(headers: Headers, found: list[Attributes]) -> Answer:
    if not found:
        return Answer(204, headers)  # a multipart has one part at least (RFC 2046 §5.1)
    parts = Multipart(secrets.token_hex(16), DICOM_XML)
    headers.append((b"content-type", parts.content_type.encode()))
    return Answer(200, headers, await asyncio.to_thread(_in_parts, parts, found))


def _in_parts(parts: Multipart, found: list[Attributes]) -> bytes:
    pieces: list[bytes] = []
    for item in found:
        content = build_xml(item)
        location = item[RETRIEVE_URL]["Value"][0]
        pieces += (parts.opening("", location, len(content), first=not pieces), content)
    return b"".join((*pieces, parts.closing()))
