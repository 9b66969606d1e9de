"""The DICOMweb door: QIDO-RS, WADO-RS and STOW-RS (PS3.18 §10.4 to §10.6) as a plain ASGI application.

Hand-routed: a framework's route costs as much as the read of a frame. It answers under whatever `root_path` it is
mounted at; the URLs in its answers begin with the configured root, never with what the Host header claims.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from drimbox.dicom.uid import checked_uid
from drimbox.dicomweb.accept import choose_plain
from drimbox.dicomweb.answers import Answer, Receive, Send, send_answer
from drimbox.dicomweb.capabilities import WADL, Route, allowed, build_json, build_wadl, offered
from drimbox.dicomweb.media_types import JSON
from drimbox.dicomweb.metadata import MetadataAnswers
from drimbox.dicomweb.rendered import Rendered
from drimbox.dicomweb.request import Request, Scope, read_request
from drimbox.dicomweb.search import Searches
from drimbox.dicomweb.stow import Stow
from drimbox.dicomweb.values import Values
from drimbox.dicomweb.wado import Wado
from drimbox.dicomweb.wado_uri import WadoUri
from drimbox.errors import NotFound
from drimbox.flows.bulk import Bulk
from drimbox.flows.describe import Describe
from drimbox.flows.remove import Remove
from drimbox.flows.render import Render
from drimbox.flows.retrieve import Retrieve
from drimbox.flows.store import Store
from drimbox.problems import Headers, problem, refuse

_LEVELS = ("studies", "series", "instances")
_BULKDATA_PATH = re.compile(r"[0-9A-Za-z./_-]{1,512}", re.ASCII)


@dataclass(frozen=True)
class DicomWeb:
    """One service root, on one archive. root: its public URL, without a slash at the end.

    store, remove: None where nothing is taken in, or out (a visit).
    """

    retrieve: Retrieve
    root: str
    store: Store | None = None
    remove: Remove | None = None
    wado: Wado = field(init=False)
    metadata: MetadataAnswers = field(init=False)
    rendered: Rendered = field(init=False)
    values: Values = field(init=False)
    searches: Searches = field(init=False)
    stow: Stow | None = field(init=False)
    routes: tuple[Route, ...] = field(init=False)

    def __post_init__(self) -> None:
        retrieve = self.retrieve
        describe = Describe(retrieve.archive, retrieve.admit, self.root, retrieve.study_uid)
        object.__setattr__(self, "wado", Wado(retrieve, self.root))
        object.__setattr__(self, "metadata", MetadataAnswers(describe))
        object.__setattr__(self, "rendered", Rendered(Render(retrieve), self.wado.url))
        object.__setattr__(self, "values", Values(Bulk(retrieve), self.wado.url))
        object.__setattr__(self, "searches", Searches(retrieve, self.root))
        object.__setattr__(self, "stow", Stow(self.store, self.root) if self.store else None)
        parts = {"Capabilities": True, "Search": True, "Retrieve": True, "Store": self.store, "Delete": self.remove}
        object.__setattr__(self, "routes", offered([name for name, part in parts.items() if part]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        method: str = scope["method"]
        try:
            await send_answer(await self._answer(scope, method, receive), method, receive, send)
        except Exception as error:  # the outermost loop of this door; nothing has been sent
            await send_answer(Answer(*refuse(error)), method, receive, send)

    async def _answer(self, scope: Scope, method: str, receive: Receive) -> Answer:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        segments = path.strip("/").split("/")
        if method in ("GET", "HEAD"):
            return await self._route(read_request(scope), segments)
        methods = allowed(self.routes, segments)
        if not methods:
            raise NotFound("resource", "no such path in this service")
        if method == "OPTIONS":
            return self._capabilities(read_request(scope), [(b"allow", methods.encode())])
        if method not in methods.split(", "):
            status, headers, body = problem(405)
            return Answer(status, [*headers, (b"allow", methods.encode())], body)
        return await self._change(method, read_request(scope), segments, receive)

    def _capabilities(self, request: Request, headers: Headers) -> Answer:
        media_type = choose_plain(request.accept, (WADL, JSON))
        described = build_json(self.root, self.routes) if media_type == JSON else build_wadl(self.root, self.routes)
        body = described if isinstance(described, bytes) else orjson.dumps(described)
        return Answer(200, [*headers, (b"content-type", media_type.encode())], body)

    async def _change(self, method: str, request: Request, path: Sequence[str], receive: Receive) -> Answer:
        match method, path:
            case "POST", ["studies", *study] if self.stow:
                return await self.stow.answer(request, receive, checked_uid(study[0]) if study else "")
            case "DELETE", ["studies", *uids] if self.remove:
                await self.remove(request.credentials, *(checked_uid(uid) for uid in uids[::2]))
                return Answer(204, [])
        raise NotFound("resource", "no such path in this service")

    async def _route(self, request: Request, path: Sequence[str]) -> Answer:
        wado = self.wado
        match path:
            case ["" | "wado"] if ("requestType", "WADO") in request.parameters:
                return await WadoUri(wado, self.rendered).answer(request)
            case [""] if choose_plain(request.accept, (JSON, WADL)) == WADL:
                return self._capabilities(request, [])
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
                return await self.metadata.answer(request, checked_uid(study))
            case ["studies", study, "series", series]:
                return await wado.instances(request, checked_uid(study), checked_uid(series))
            case ["studies", study, "series", series, "metadata"]:
                return await self.metadata.answer(request, checked_uid(study), checked_uid(series))
            case ["studies", *_, ("bulkdata" | "pixeldata") as kind] if len(path) in (3, 5, 7) and _is_place(path[:-1]):
                uids = [checked_uid(uid) for uid in path[1::2]]
                return await self.values.answer(request, uids, pixels_only=kind == "pixeldata")
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
                return await self.metadata.answer(request, study, series, sop)
            case ["frames", frame_list]:
                return await self.wado.frames(request, study, series, sop, frame_list)
            case ["bulkdata", *value] if _BULKDATA_PATH.fullmatch("/".join(value)):
                return await self.wado.bulkdata(request, study, series, sop, "/".join(value))
        raise NotFound("resource", "no such path in this service")


def _is_place(path: Sequence[str]) -> bool:
    """Does the path lead to a study, a series or an instance?"""
    return tuple(path[::2]) == _LEVELS[: len(path) // 2]
