"""The DICOMweb door: QIDO-RS and WADO-RS (PS3.18 §10.4 and §10.6) as a plain ASGI application.

Hand-routed: a framework's route costs as much as the read of a frame. It answers under whatever `root_path` it is
mounted at; the URLs in its answers begin with the configured root, never with what the Host header claims.
"""

import asyncio
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from drimbox.dicom.match import Level
from drimbox.dicom.uid import checked_uid
from drimbox.dicomweb.accept import accepts_gzip, choose_plain
from drimbox.dicomweb.answers import Answer, Receive, Send, send_answer
from drimbox.dicomweb.capabilities import WADL, build_wadl
from drimbox.dicomweb.media_types import DICOM_JSON, JSON
from drimbox.dicomweb.qido import MORE, read_search
from drimbox.dicomweb.request import Request, Scope, read_request
from drimbox.dicomweb.wado import Wado
from drimbox.errors import NotFound
from drimbox.flows.retrieve import Retrieve
from drimbox.problems import Headers, problem, refuse

STUDY_UID: Final = "0020000D"
SERIES_UID: Final = "0020000E"
SOP_UID: Final = "00080018"
RETRIEVE_URL: Final = "00081190"

_ALLOWED: Final = "GET, HEAD, OPTIONS"
_BULKDATA_PATH = re.compile(r"[0-9A-Za-z./_-]{1,512}", re.ASCII)


@dataclass(frozen=True)
class DicomWeb:
    """One service root, on one archive. root: its public URL, without a slash at the end."""

    retrieve: Retrieve
    root: str
    wado: Wado = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "wado", Wado(self.retrieve, self.root))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        method: str = scope["method"]
        try:
            await send_answer(await self._answer(scope, method), method, receive, send)
        except Exception as error:  # the outermost loop of this door; nothing has been sent
            await send_answer(Answer(*refuse(error)), method, receive, send)

    async def _answer(self, scope: Scope, method: str) -> Answer:
        if method == "OPTIONS":
            headers: Headers = [(b"allow", _ALLOWED.encode()), (b"content-type", WADL.encode())]
            return Answer(200, headers, build_wadl(self.root))
        if method not in ("GET", "HEAD"):
            status, headers, body = problem(405)
            return Answer(status, [*headers, (b"allow", _ALLOWED.encode())], body)
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        return await self._route(read_request(scope), path.strip("/").split("/"))

    async def _route(self, request: Request, path: Sequence[str]) -> Answer:
        wado = self.wado
        match path:
            case [""]:
                return Answer(200, [(b"content-type", JSON.encode())], b'{"status":"up"}')
            case [("studies" | "series" | "instances") as level]:
                return await self._search(request, level)
            case ["studies", study, ("series" | "instances") as level]:
                return await self._search(request, level, checked_uid(study))
            case ["studies", study, "series", series, "instances"]:
                return await self._search(request, "instances", checked_uid(study), checked_uid(series))
            case ["studies", study]:
                return await wado.instances(request, checked_uid(study))
            case ["studies", study, "metadata"]:
                return await wado.metadata(request, checked_uid(study))
            case ["studies", study, "series", series]:
                return await wado.instances(request, checked_uid(study), checked_uid(series))
            case ["studies", study, "series", series, "metadata"]:
                return await wado.metadata(request, checked_uid(study), checked_uid(series))
            case ["studies", study, "series", series, "instances", sop, *below]:
                return await self._of_instance(
                    request, checked_uid(study), checked_uid(series), checked_uid(sop), below
                )
        raise NotFound("resource", "no such path in this service")

    async def _of_instance(self, request: Request, study: str, series: str, sop: str, below: Sequence[str]) -> Answer:
        match below:
            case []:
                return await self.wado.instances(request, study, series, sop)
            case ["metadata"]:
                return await self.wado.metadata(request, study, series, sop)
            case ["frames", frame_list]:
                return await self.wado.frames(request, study, series, sop, frame_list)
            case ["bulkdata", *value] if _BULKDATA_PATH.fullmatch("/".join(value)):
                return await self.wado.bulkdata(request, study, series, sop, "/".join(value))
        raise NotFound("resource", "no such path in this service")

    async def _search(self, request: Request, resources: str, study: str = "", series: str = "") -> Answer:
        media_type = choose_plain(request.accept, (DICOM_JSON, JSON))
        within = {tag: uid for tag, uid in ((STUDY_UID, study), (SERIES_UID, series)) if uid}
        asked = read_search(_LEVELS[resources], within, request.parameters)
        found, more = await self.retrieve.search(request.credentials, asked.query)
        for item in found:
            item[RETRIEVE_URL] = {"vr": "UR", "Value": [self._retrieve_url(item)]}
        headers: Headers = [(b"content-type", media_type.encode())]
        for warning in (*asked.warnings, *((MORE,) if more else ())):  # PS3.18 §8.3.4.4
            headers.append((b"warning", f'299 {self.root} "{warning}"'.encode()))
        if len(found) <= _FEW:
            return Answer(200, headers, orjson.dumps(found))
        if not accepts_gzip(request.headers.get("accept-encoding", "")):
            return Answer(200, headers, await asyncio.to_thread(orjson.dumps, found))
        headers.append((b"content-encoding", b"gzip"))
        return Answer(200, headers, await asyncio.to_thread(lambda: gzip.compress(orjson.dumps(found), 1)))

    def _retrieve_url(self, item: dict[str, Any]) -> str:
        """Where what was found can be retrieved (PS3.18 §10.6.1.3), from its own UIDs."""
        names = (("studies", STUDY_UID), ("series", SERIES_UID), ("instances", SOP_UID))
        return self.root + "".join(f"/{name}/{item[tag]['Value'][0]}" for name, tag in names if tag in item)


_LEVELS: Final[dict[str, Level]] = {"studies": "study", "series": "series", "instances": "instance"}
_FEW: Final = 20  # answers that are written in less than the way to a thread, and are not worth packing
