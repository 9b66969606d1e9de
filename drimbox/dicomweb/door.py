"""The DICOMweb door: QIDO-RS and WADO-RS (PS3.18 §10.4 and §10.6) as a plain ASGI application.

Hand-routed: a framework's route costs as much as the read of a frame. It answers under whatever `root_path` it is
mounted at; the URLs in its answers begin with the configured root, never with what the Host header claims.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from drimbox.dicom.uid import checked_uid
from drimbox.dicomweb.answers import Answer, Receive, Send, send_answer
from drimbox.dicomweb.capabilities import WADL, build_wadl
from drimbox.dicomweb.media_types import JSON
from drimbox.dicomweb.rendered import Rendered
from drimbox.dicomweb.request import Request, Scope, read_request
from drimbox.dicomweb.search import Searches
from drimbox.dicomweb.wado import Wado
from drimbox.errors import NotFound
from drimbox.flows.render import Render
from drimbox.flows.retrieve import Retrieve
from drimbox.problems import Headers, problem, refuse

_ALLOWED: Final = "GET, HEAD, OPTIONS"
_BULKDATA_PATH = re.compile(r"[0-9A-Za-z./_-]{1,512}", re.ASCII)


@dataclass(frozen=True)
class DicomWeb:
    """One service root, on one archive. root: its public URL, without a slash at the end."""

    retrieve: Retrieve
    root: str
    wado: Wado = field(init=False)
    rendered: Rendered = field(init=False)
    searches: Searches = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "wado", Wado(self.retrieve, self.root))
        object.__setattr__(self, "rendered", Rendered(Render(self.retrieve), self.wado.url))
        object.__setattr__(self, "searches", Searches(self.retrieve, self.root))

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
                return await self.searches.answer(request, level)
            case ["studies", study, ("series" | "instances") as level]:
                return await self.searches.answer(request, level, checked_uid(study))
            case ["studies", study, "series", series, "instances"]:
                return await self.searches.answer(request, "instances", checked_uid(study), checked_uid(series))
            case ["studies", study]:
                return await wado.instances(request, checked_uid(study))
            case ["studies", study, "metadata"]:
                return await wado.metadata(request, checked_uid(study))
            case ["studies", study, "series", series]:
                return await wado.instances(request, checked_uid(study), checked_uid(series))
            case ["studies", study, "series", series, "metadata"]:
                return await wado.metadata(request, checked_uid(study), checked_uid(series))
            case ["studies", *_, "rendered" | "thumbnail"]:
                return await self.rendered.answer(request, path)
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
