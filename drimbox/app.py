"""The composition root: `build(settings)` makes a Node. The only file that knows every class."""

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from drimbox import clock
from drimbox.audit.trail import Trail
from drimbox.auth.users import read_users
from drimbox.dicom_scp.receivers import DicomDoor
from drimbox.dicomweb.cross_origin import CrossOrigin
from drimbox.dicomweb.door import DicomWeb
from drimbox.dicomweb.request import Scope
from drimbox.dmp.client import DmpClient
from drimbox.durable import lock_folder
from drimbox.egress import Egress
from drimbox.errors import DrimboxError, NotFound, Unavailable
from drimbox.flows.admit import Admit
from drimbox.flows.bring import Bring
from drimbox.flows.commit import Commit
from drimbox.flows.consult import Consult
from drimbox.flows.describe import Describe
from drimbox.flows.desk import Desk
from drimbox.flows.exams import Exams
from drimbox.flows.fetch import Fetch
from drimbox.flows.follow import Follow
from drimbox.flows.given import Given
from drimbox.flows.ingest import Ingest
from drimbox.flows.lifecycle import Lifecycle
from drimbox.flows.look_again import LookAgain
from drimbox.flows.named import Named
from drimbox.flows.publish import Publish
from drimbox.flows.readmit import Readmit
from drimbox.flows.remove import Remove
from drimbox.flows.retrieve import Retrieve
from drimbox.flows.show_report import ShowReport
from drimbox.flows.statistics import Statistics
from drimbox.flows.store import Store
from drimbox.flows.xdm_export import XdmExport
from drimbox.flows.xdm_import import XdmImport
from drimbox.hl7.mllp import Hl7Door
from drimbox.peers.wado_client import PeerClient
from drimbox.pixels.cache import FrameCache
from drimbox.pixels.images import Pixels
from drimbox.pixels.pool import Pool
from drimbox.portal.api import create_api
from drimbox.portal.listener import Listener
from drimbox.portal.own_pages import OwnPages
from drimbox.portal.site import site
from drimbox.problems import refuse
from drimbox.settings import Settings
from drimbox.storage.archive import Archive
from drimbox.storage.database import Database
from drimbox.storage.earlier import EarlierSubmissions
from drimbox.storage.manifests import Manifests
from drimbox.storage.outbox import Outbox
from drimbox.storage.outbox_file import open_outbox
from drimbox.storage.recover import recover
from drimbox.storage.reports import Reports
from drimbox.storage.visits import Visits

log = logging.getLogger(__name__)

_EXPIRY_S: Final = 60.0
_GRACE_S: Final = 10.0


@dataclass
class Node:
    """One DRIMbox: its doors, its archives, its work. `start` opens, `stop` finishes what was accepted."""

    own: Archive
    visiting: Archive
    egress: Egress
    pixels: Pixels
    publish: Publish
    bring: Bring | None
    look_again: LookAgain
    describe: Describe
    consult: Consult
    commit: Commit
    statistics: Statistics
    dicom: DicomDoor
    hl7: Hl7Door
    http: Listener
    metadata_max_bytes: int
    held: contextlib.ExitStack  # the folder, the trail, the archives: closed last
    ready: bool = False
    work: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> dict[str, str]:
        """Open every door; the addresses, by door."""
        self.work = [
            asyncio.create_task(self.publish.work(), name="outbox"),
            asyncio.create_task(self.commit.work(), name="commitments"),
            asyncio.create_task(self.statistics.work(), name="statistics"),
            asyncio.create_task(_expire(self.consult, self.visiting), name="expiry"),
            asyncio.create_task(self.describe.work(self.metadata_max_bytes), name="metadata"),
        ]
        if self.bring is not None:
            self.work.append(asyncio.create_task(self.bring.work(), name="pacs"))
            self.work.append(asyncio.create_task(self.look_again.work(), name="look-again"))
        await self.pixels.start()
        await self.http.open()
        dicom = await self.dicom.start()
        hl7 = await self.hl7.start()
        self.work.append(asyncio.create_task(_check(self.own, self.visiting), name="index-check"))
        self.ready = True
        http = self.http.address
        shown = {name: _shown(place) for name, place in dicom.items()}
        return shown | {"http": f"http://{_shown(http)}/", "hl7": _shown(hl7)}

    async def stop(self) -> None:
        """Close the doors, let accepted work finish, close the archives. Whatever was not started is passed over.

        A step that fails does not keep those after it from being done; its error is raised at the end.
        """
        self.ready = False
        async with contextlib.AsyncExitStack() as last_first:
            last_first.callback(self.held.close)
            last_first.push_async_callback(self.egress.close)
            last_first.push_async_callback(self.pixels.stop)
            last_first.push_async_callback(self._end_work)
            last_first.push_async_callback(self.consult.stop)
            last_first.push_async_callback(self.http.close)
            last_first.push_async_callback(self.dicom.stop, _GRACE_S)
            last_first.push_async_callback(self.hl7.stop)

    async def _end_work(self) -> None:
        for task in self.work:
            task.cancel()
        await asyncio.gather(*self.work, return_exceptions=True)


def build(settings: Settings) -> Node:
    """Wire a node. Raises Unavailable when its folder is in use or its ports are taken, Corrupt when its index is,
    Malformed or NotFound when the file of the DIMSE users is wrong.

    If it raises, nothing stays open.
    """
    if settings.dicom.users is not None:
        read_users(settings.dicom.users)  # wrong now, rather than when somebody calls
    with contextlib.ExitStack() as held:
        trail, outbox, own = _open(settings, held)
        visiting = Archive(settings.node.data_dir.resolve() / "visiting")
        held.callback(visiting.close)
        _recover(own, adopt=True)
        _recover(visiting, adopt=False)
        return _wire(settings, trail, outbox, own, visiting, held)


def _wire(
    settings: Settings, trail: Trail, outbox: Outbox, own: Archive, visiting: Archive, held: contextlib.ExitStack
) -> Node:
    admit = Admit(settings, trail)
    egress = Egress(_allowed(settings))
    cache = FrameCache(settings.node.data_dir.resolve() / "cache", settings.pixels.cache_bytes)
    for archive in (own, visiting):
        archive.on_forget.append(cache.forget)
    pixels = Pixels(Pool(settings.pixels.workers), cache, lossy=settings.pixels.lossy)
    dmp = DmpClient(settings.dmp, egress, clock)
    # The HTTP address is known before anything is served: a port 0 in tests still gives true retrieve URLs.
    root = _Root()
    urls = (settings.http.public_url, settings.kos.retrieve_url)
    guarded = OwnPages(root, urls, settings.http.viewer_origins, by_name=settings.auth.mode == "none")
    http = Listener(guarded, settings.http.host, settings.http.port, settings.http.trusted_proxies)
    public = settings.http.public_url.rstrip("/") or f"http://{_shown(http.address)}"
    retrieve_base = settings.kos.retrieve_url.rstrip("/") or f"{public}/dicom-web"
    ingest = Ingest(own, admit, settings.dicom.max_object_bytes)
    manifests = Manifests(outbox.database)
    retrieve = Retrieve(own, admit, pixels, named=Named(manifests, settings.kos.replaced_s))
    bring = Bring(Fetch(ingest, settings), settings.pacs) if settings.pacs.fetch_reported else None
    exams = Exams(own, Reports(outbox), settings, retrieve_base, bring)
    publish = Publish(Lifecycle(exams, outbox, dmp), admit, settings)
    loan = Ingest(visiting, admit, settings.dicom.max_object_bytes)
    consult = Consult(Visits(visiting.database), loan, admit, dmp, PeerClient(egress, settings.peers), settings)
    node = Node(
        own=own,
        visiting=visiting,
        egress=egress,
        pixels=pixels,
        publish=publish,
        bring=bring,
        look_again=LookAgain(manifests, outbox, settings.pacs.look_again_s),
        describe=Describe(own, admit, retrieve_base),
        consult=consult,
        commit=Commit(own, admit, settings.dicom),
        statistics=Statistics(settings.node.data_dir.resolve(), outbox),
        dicom=DicomDoor(settings.dicom, ingest, retrieve, settings.node.workers, settings.model_dump_json()),
        hl7=Hl7Door(settings.hl7, publish),
        http=http,
        metadata_max_bytes=settings.http.metadata_max_bytes,
        held=held.pop_all(),
    )
    root.own = DicomWeb(retrieve, retrieve_base, Store(ingest), Remove(own, admit))
    root.across = CrossOrigin(settings.http.viewer_origins)
    root.consult = consult
    root.loan = Retrieve(visiting, admit, pixels)
    root.public = public
    root.api = create_api(
        Desk(outbox, admit),
        consult,
        Given(consult.visits, admit),
        Follow(own, admit),
        ShowReport(exams.reports, admit),
        settings.dmp.ins_authority,
        lambda: _is_ready(node, outbox),
    )
    return node


def _is_ready(node: Node, outbox: Outbox) -> bool:
    return node.ready and not node.own.suspect and not outbox.database.suspect


def _open(settings: Settings, held: contextlib.ExitStack) -> tuple[Trail, Outbox, Archive]:
    """The folder for this process alone, its trail, its outbox and its own archive; `held` closes them."""
    folder = settings.node.data_dir.resolve()
    held.callback(os.close, lock_folder(folder))
    trail = Trail(folder / "trail" / "trail.jsonl")
    held.callback(trail.close)
    database = open_outbox(folder / "own")
    held.callback(database.close)
    own = Archive(folder / "own", is_shared=settings.node.workers > 1)
    held.callback(own.close)
    return trail, Outbox(database), own


@contextlib.contextmanager
def open_ingest(settings: Settings) -> Iterator[Ingest]:
    """The way into the own archive for a command, while no node runs. Raises Unavailable when one does."""
    with contextlib.ExitStack() as held:
        trail, _, own = _open(settings, held)
        _recover(own, adopt=True)
        yield Ingest(own, Admit(settings, trail), settings.dicom.max_object_bytes)


def build_outbox(settings: Settings) -> Outbox:
    """The node's outbox alone, for a command beside a running node: SQLite lets both in.

    Raises NotFound where no node ever ran: an empty answer from the wrong folder would be believed.
    """
    folder = settings.node.data_dir.resolve()
    if not (folder / "own").is_dir():
        raise NotFound("node.data_dir", f"{folder} holds no archive: give the node's configuration with --config")
    return Outbox(open_outbox(folder / "own"))


@contextlib.contextmanager
def open_desk(settings: Settings) -> Iterator[Desk]:
    """The outbox for a command beside a running node. What commands do is traced in a file of their own.

    Raises NotFound where no node ever ran, Unavailable while another command writes there.
    """
    with _beside_node(settings) as (outbox, admit):
        yield Desk(outbox, admit)


@contextlib.contextmanager
def open_submissions(settings: Settings) -> Iterator[tuple[XdmExport, XdmImport]]:
    """The archive of submissions for a command, both ways. Raises as `open_desk`."""
    with _beside_node(settings) as (outbox, admit):
        earlier = EarlierSubmissions(outbox)
        yield XdmExport(earlier, admit), XdmImport(earlier, admit)


@contextlib.contextmanager
def open_statistics(settings: Settings) -> Iterator[tuple[Admit, Statistics]]:
    """The statistics for a command. Raises as `open_desk`."""
    with _beside_node(settings) as (outbox, admit):
        yield admit, Statistics(settings.node.data_dir.resolve(), outbox)


@contextlib.contextmanager
def _beside_node(settings: Settings) -> Iterator[tuple[Outbox, Admit]]:
    with contextlib.ExitStack() as held:
        outbox = build_outbox(settings)
        held.callback(outbox.database.close)
        yield outbox, _admit_command(settings, held)


@contextlib.contextmanager
def open_readmit(settings: Settings) -> Iterator[Readmit]:
    """The rejections of the own archive for a command beside a running node, traced as above. Raises as above."""
    root = settings.node.data_dir.resolve() / "own"
    if not (root / "index.db").is_file():
        raise NotFound("node.data_dir", f"{root} holds no index: give the node's configuration with --config")
    with contextlib.ExitStack() as held:
        admit = _admit_command(settings, held)
        database = Database(root / "index.db", may_be_new=False)
        held.callback(database.close)
        yield Readmit(database, admit)


def _admit_command(settings: Settings, held: contextlib.ExitStack) -> Admit:
    folder = settings.node.data_dir.resolve() / "trail"
    try:
        held.callback(os.close, lock_folder(folder / "commands"))
    except Unavailable as error:
        raise Unavailable("trail", "another drimbox command is at work here: try again when it is done") from error
    trail = Trail(folder / "commands.jsonl")
    held.callback(trail.close)
    return Admit(settings, trail)


def _allowed(settings: Settings) -> list[str]:
    """Every URL the configuration lets the node call; nothing else is ever called."""
    dmp = settings.dmp
    urls = [dmp.repository_url, dmp.registry_url, dmp.patients_url, dmp.habilitations_url, settings.psc.issuer_url]
    return [url for url in (*urls, *(peer.url for peer in settings.peers.known)) if url]


async def _check(*archives: Archive) -> None:
    """Look at every page of the indexes, once the doors are open: a damaged one takes nothing more."""
    for archive in archives:
        try:
            await archive.database.check_beside()
        except DrimboxError as error:
            log.error("index_damaged", extra={"archive": archive.root.name, "reason": str(error)})


def _recover(archive: Archive, *, adopt: bool) -> None:
    """What a crash left without rows: ours is adopted, what was on loan is removed."""
    done = recover(archive, adopt=adopt)
    level = logging.WARNING if done.damaged else logging.INFO
    log.log(level, "archive_recovered", extra={**asdict(done), "archive": archive.root.name})


async def _expire(consult: Consult, visiting: Archive) -> None:
    while True:
        try:
            await consult.expire()
            await visiting.metadata.remove_gone()
        except DrimboxError as error:
            log.warning("visits_not_expired", extra={"reason": str(error)})
        except Exception:  # images on loan must go, whatever happened once
            log.exception("visits_not_expired", extra={"incident": secrets.token_hex(8)})
        await asyncio.sleep(_EXPIRY_S)


def _shown(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Root:
    """Which door answers a path. Plain ASGI: the hot routes pay for one comparison."""

    own: DicomWeb
    across: CrossOrigin
    consult: Consult
    loan: Retrieve
    public: str
    api: Any

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path: str = scope["path"]
        if path == "/dicom-web" or path.startswith("/dicom-web/"):
            await self.across(self.own, _below(scope, "/dicom-web"), receive, send)
        elif path.startswith("/visits/"):
            await self.across(self._visit, scope, receive, send)
        elif path.startswith(("/api/", "/health/")):
            await self.api(scope, receive, send)
        else:
            await site(scope, receive, send)

    async def _visit(self, scope: Scope, receive: Any, send: Any) -> None:
        """`/visits/{visit_id}/dicom-web/…`: the same door, on the one study that is on loan."""
        visit_id, _, rest = scope["path"].removeprefix("/visits/").partition("/")
        segments = rest.split("/")  # dicom-web, studies, UID, series, UID, …
        series_uid = segments[4] if len(segments) > 4 and segments[3] == "series" else ""
        listing = segments[-1] in ("studies", "series", "instances")
        try:
            if segments[0] != "dicom-web":
                raise NotFound("path", "a visit has only /dicom-web below it")
            visit = await self.consult.visit(visit_id, series_uid, listing=listing)
        except Exception as error:  # a door's outermost catch: `refuse` tells refusals from bugs
            status, headers, body = refuse(error, "visits")
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        prefix = f"/visits/{visit_id}/dicom-web"
        door = DicomWeb(replace(self.loan, study_uid=visit.study_uid), f"{self.public}{prefix}")
        await door(_below(scope, prefix), receive, send)


def _below(scope: Scope, prefix: str) -> dict[str, Any]:
    """The scope as the application mounted at `prefix` sees it (ASGI: root_path is a prefix of path)."""
    return {**scope, "root_path": prefix}
