"""/api/v1: what the viewer and the operator need beyond DICOMweb (interface.md)."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from drimbox.dicom.uid import checked_uid
from drimbox.errors import DrimboxError, Malformed
from drimbox.flows.consult import Consult
from drimbox.flows.desk import MOST_REASON, Desk
from drimbox.flows.follow import MOST, Follow
from drimbox.flows.given import Given
from drimbox.flows.show_report import ShowReport
from drimbox.kos.build import Profile
from drimbox.model import Credentials, Identifier, JobState
from drimbox.problems import problem, refuse
from drimbox.xds.cda_page import PAGE_POLICY

_INS: Final = re.compile(r"[0-9]{13}|[0-9]{15}|[12][0-9]{4}[0-9AB][0-9]{7}([0-9]{2})?", re.ASCII)
_JobId = Annotated[int, Path(ge=1, le=2**63 - 1)]  # what a row of SQLite can be called
_FILES: Final = ("application/dicom", "application/zip")
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_Place = Annotated[str, Query(max_length=64)]
_Most = Annotated[int, Query(ge=1, le=MOST)]


class OutboxItem(BaseModel):
    """One job, as interface.md shows it. next_try, created_at, settled_at: seconds since 1970."""

    id: int
    study_uid: str
    kind: str
    state: str
    cause: str
    attempts: int
    last_error: str
    unique_id: str
    entry_uuid: str
    next_try: float
    created_at: float
    settled_at: float | None


class OutboxList(BaseModel):
    """The newest jobs first."""

    items: list[OutboxItem]


class Reason(BaseModel):
    """Why a human decides so; for whoever looks at the item later."""

    reason: str = Field(min_length=1, max_length=MOST_REASON)


class ListedDocument(BaseModel):
    """A manifest the DMP lists."""

    document_id: str
    title: str
    created: str
    study_uid: str
    modalities: list[str]
    regions: list[str]
    description: str
    author: str


class GivenManifest(ListedDocument):
    """A manifest that came as a file, and of whom it says it is."""

    patient: str
    birth_date: str


class OpenVisit(BaseModel):
    """Which listed document to open."""

    document_id: str = Field(min_length=1, max_length=64)


class OpenedVisit(BaseModel):
    """Where its images are served while they are on loan."""

    visit_id: str
    study_uid: str
    dicomweb_url: str


class VisitProgress(BaseModel):
    """How far the images of a visit have come."""

    visit_id: str
    study_uid: str
    expected: int
    landed: int
    missing: int
    complete: bool


class Change(BaseModel):
    """Something that happened to an instance. at: seconds since 1970. shown: can it be found now, whatever happened?"""

    kind: Literal["arrived", "rejected", "removed", "restored", "set aside"]
    study_uid: str
    series_uid: str
    sop_uid: str
    at: float
    shown: bool


class ChangeList(BaseModel):
    """The oldest first. next: to be given as `since`. more: is there something after it already?"""

    items: list[Change]
    next: str
    more: bool


def create_api(
    desk: Desk,
    consult: Consult,
    given: Given,
    follow: Follow,
    show_report: ShowReport,
    ins_authority: str,
    ready: Callable[[], bool],
) -> FastAPI:
    """The API as an ASGI application. ready: is every door open and the volume sound?"""
    api = FastAPI(title="DRIMbox", version="1", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")

    @api.get("/api/v1/outbox")
    async def outbox(request: Request, state: JobState | None = None) -> OutboxList:
        """What is owed to the DMP; with `state`, only what is in that one."""
        return OutboxList.model_validate({"items": await desk.list(_credentials(request), state or "")})

    @api.get("/api/v1/outbox/{job_id}")
    async def outbox_item(request: Request, job_id: _JobId) -> OutboxItem:
        """One job."""
        return OutboxItem.model_validate(await desk.show(_credentials(request), job_id))

    @api.post("/api/v1/outbox/{job_id}/retry")
    async def retry(request: Request, job_id: _JobId) -> OutboxItem:
        """Attempt it now."""
        return OutboxItem.model_validate(await desk.retry(_credentials(request), job_id))

    @api.post("/api/v1/outbox/{job_id}/park")
    async def park(request: Request, job_id: _JobId, body: Reason) -> OutboxItem:
        """No further attempt until someone says retry."""
        return OutboxItem.model_validate(await desk.park(_credentials(request), job_id, body.reason))

    @api.post("/api/v1/outbox/{job_id}/discard")
    async def discard(request: Request, job_id: _JobId, body: Reason) -> OutboxItem:
        """It is not owed any more."""
        return OutboxItem.model_validate(await desk.discard(_credentials(request), job_id, body.reason))

    @api.get("/api/v1/studies/{study_uid}/manifest", response_class=Response)
    async def manifest(request: Request, study_uid: str, profile: Profile = "drim") -> Response:
        """The current KOS, as the DMP holds it (drim) or in another profile."""
        data = await desk.current_manifest(_credentials(request), checked_uid(study_uid), profile)
        return Response(data, media_type="application/dicom")

    @api.head("/api/v1/studies/{study_uid}/report", include_in_schema=False)
    @api.get("/api/v1/studies/{study_uid}/report", response_class=Response)
    async def report(request: Request, study_uid: str) -> Response:
        """The report in force of the exam, as a person reads it: a PDF, a picture, or a page that can do nothing."""
        body = await show_report(_credentials(request), checked_uid(study_uid))
        return Response(body.content, media_type=body.media_type, headers=_shown_as(body.media_type))

    @api.get("/api/v1/changes")
    async def changes(request: Request, since: _Place = "", limit: _Most = 100) -> ChangeList:
        """What happened in the archive after `since`, which an earlier answer gave as `next`."""
        found, more = await follow(_credentials(request), since, limit)
        items = [Change(kind=one.kind, **one.ref._asdict(), at=one.at, shown=one.shown) for one in found]
        return ChangeList(items=items, next=found[-1].place if found else since, more=more)

    @api.get("/api/v1/patients/{ins}/documents")
    async def documents(request: Request, ins: str) -> list[ListedDocument]:
        """What the DMP lists for the patient with this INS matricule."""
        if not _INS.fullmatch(ins):
            raise Malformed("INS", "a matricule has 13 or 15 characters, digits but for a Corsican department")
        found = await consult.documents(_credentials(request), Identifier(ins, ins_authority))
        return [ListedDocument.model_validate(item) for item in found]

    @api.post("/api/v1/manifests", openapi_extra={"requestBody": {"content": dict.fromkeys(_FILES, _BINARY)}})
    async def manifests(request: Request) -> list[GivenManifest]:
        """The manifests of a file, a KOS or an XDM medium in a ZIP: each can be opened like a listed document."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _FILES:
            raise Malformed("Content-Type", f"{' or '.join(_FILES)} is wanted")
        return [GivenManifest.model_validate(item) for item in await given(_credentials(request), request.stream())]

    @api.post("/api/v1/visits", status_code=201)
    async def open_visit(request: Request, body: OpenVisit) -> OpenedVisit:
        """Begin a visit: the images of a listed document come on loan."""
        return OpenedVisit.model_validate(await consult.open(_credentials(request), body.document_id))

    @api.get("/api/v1/visits/{visit_id}")
    async def visit(request: Request, visit_id: str) -> VisitProgress:
        """How far it has come."""
        return VisitProgress.model_validate(await consult.progress(_credentials(request), visit_id))

    @api.head("/api/v1/visits/{visit_id}/report", include_in_schema=False)
    @api.get("/api/v1/visits/{visit_id}/report", response_class=Response)
    async def visit_report(request: Request, visit_id: str) -> Response:
        """The report the DMP has of the exam of a visit, as above."""
        body = await consult.report(_credentials(request), visit_id)
        return Response(body.content, media_type=body.media_type, headers=_shown_as(body.media_type))

    @api.head("/health/live", include_in_schema=False)
    @api.get("/health/live")
    async def live() -> Response:
        """The process answers."""
        return JSONResponse({"status": "live"})

    @api.head("/health/ready", include_in_schema=False)
    @api.get("/health/ready")
    async def is_ready() -> Response:
        """Every door is open and the volume is sound."""
        return JSONResponse({"status": "ready"}) if ready() else _problem(*problem(503, "not ready"))

    @api.exception_handler(DrimboxError)
    async def refused(request: Request, error: DrimboxError) -> Response:
        return _problem(*refuse(error, "portal"))

    @api.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return _problem(*refuse(error, "portal"))

    @api.exception_handler(RequestValidationError)
    async def misread(request: Request, error: RequestValidationError) -> Response:
        places = ", ".join(sorted({".".join(str(part) for part in item["loc"]) for item in error.errors()}))
        return _problem(*refuse(Malformed("request", f"wrong or missing: {places}"), "portal"))

    @api.exception_handler(HTTPException)
    async def not_routed(request: Request, error: HTTPException) -> Response:
        return _problem(*problem(error.status_code), extra=error.headers)

    return api


def _credentials(request: Request) -> Credentials:
    return Credentials("http", request.client.host if request.client else "")


def _shown_as(media_type: str) -> dict[str, str]:
    """A page is confined to itself. A PDF is not told so: browsers would then refuse to start what shows it."""
    policy = PAGE_POLICY if media_type.startswith("text/html") else "frame-ancestors 'self'"
    return {
        "content-security-policy": policy,
        "content-disposition": "inline",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }


def _problem(status: int, headers: Any, body: bytes, extra: Any = None) -> Response:
    named = {name.decode(): value.decode() for name, value in headers} | dict(extra or {})
    return Response(body, status, named)
