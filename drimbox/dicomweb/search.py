"""Answering a search (PS3.18 §10.6): one page of what matches, as JSON or as parts of XML."""

import asyncio
import gzip
import secrets
from dataclasses import dataclass
from typing import Any, Final

import orjson

from drimbox.dicom.match import Level
from drimbox.dicom.xml_model import build_xml
from drimbox.dicomweb.accept import accepts_gzip
from drimbox.dicomweb.answers import Answer
from drimbox.dicomweb.media_types import DICOM_XML
from drimbox.dicomweb.multipart import Multipart
from drimbox.dicomweb.qido import MORE, choose_form, next_page, read_search
from drimbox.dicomweb.request import Request
from drimbox.flows.retrieve import Retrieve
from drimbox.problems import Headers

STUDY_UID: Final = "0020000D"
SERIES_UID: Final = "0020000E"
SOP_UID: Final = "00080018"
RETRIEVE_URL: Final = "00081190"

_LEVELS: Final[dict[str, Level]] = {"studies": "study", "series": "series", "instances": "instance"}
_FEW: Final = 20  # answers that are written in less than the way to a thread, and are not worth packing


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
        found, more = await self.retrieve.search(request.credentials, asked.query)
        for item in found:
            item[RETRIEVE_URL] = {"vr": "UR", "Value": [self._retrieve_url(item)]}
        headers: Headers = []
        for warning in (*asked.warnings, *((MORE,) if more else ())):  # PS3.18 §8.3.4.4
            headers.append((b"warning", f'299 {self.root} "{warning}"'.encode()))
        if more and asked.query.limit:
            path = [*(("studies", study) if study else ()), *(("series", series) if series else ()), resources]
            url = f"{'/'.join((self.root, *path))}?{next_page(request.parameters, asked.query)}"
            headers.append((b"link", f'<{url}>; rel="next"'.encode()))  # RFC 8288
        if media_type == DICOM_XML:
            if not found:
                return Answer(204, headers)  # a multipart has one part at least (RFC 2046 §5.1)
            parts = Multipart(secrets.token_hex(16), DICOM_XML)
            headers.append((b"content-type", parts.content_type.encode()))
            return Answer(200, headers, await asyncio.to_thread(_in_parts, parts, found))
        headers.append((b"content-type", media_type.encode()))
        if len(found) <= _FEW:
            return Answer(200, headers, _in_json(found))
        if not accepts_gzip(request.headers.get("accept-encoding", "")):
            return Answer(200, headers, await asyncio.to_thread(_in_json, found))
        headers.append((b"content-encoding", b"gzip"))
        return Answer(200, headers, await asyncio.to_thread(lambda: gzip.compress(_in_json(found), 1)))

    def _retrieve_url(self, item: dict[str, Any]) -> str:
        """Where what was found can be retrieved (PS3.18 §10.6.1.3), from its own UIDs."""
        names = (("studies", STUDY_UID), ("series", SERIES_UID), ("instances", SOP_UID))
        return self.root + "".join(f"/{name}/{item[tag]['Value'][0]}" for name, tag in names if tag in item)


def _in_json(found: list[dict[str, Any]]) -> bytes:
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS)  # by increasing tag (PS3.18 §F.2.2)


def _in_parts(parts: Multipart, found: list[dict[str, Any]]) -> bytes:
    pieces: list[bytes] = []
    for item in found:
        content = build_xml(item)
        location = item[RETRIEVE_URL]["Value"][0]
        pieces += (parts.opening("", location, len(content), first=not pieces), content)
    return b"".join((*pieces, parts.closing()))
