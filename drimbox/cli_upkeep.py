"""Commands on files and on the archive itself: bring in, send, make the index again, read everything again."""

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from drimbox.app import open_ingest
from drimbox.durable import lock_folder, write_file
from drimbox.errors import DrimboxError, Malformed, NotFound, Unavailable
from drimbox.flows.import_files import ImportFiles, find_files
from drimbox.model import Credentials
from drimbox.settings import Destination, Settings, read_settings
from drimbox.storage.archive import AlreadyKept, Kept, Outcome
from drimbox.storage.outbox_file import rescue_outbox
from drimbox.storage.rebuild import rebuild_index
from drimbox.storage.scrub import Finding, count_instances, scrub
from drimbox.storage.whole import read_object

app = typer.Typer()

_LONGEST_TITLE: Final = 16
_SUCCESS: Final = 0x0000

Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings; see docs/settings.md.")]


def show_progress() -> Progress:
    """On a terminal only: what goes to a file or a pipe is for programs."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not sys.stderr.isatty())


@app.command("import")
def import_files(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files and folders.", exists=True)], config: Config = None
) -> None:
    """Bring files into the archive, while no node runs. Exit 1 when one was refused."""
    settings = read_settings(config)
    total = sum(1 for _ in find_files(paths))
    said: Counter[str] = Counter()
    try:
        with open_ingest(settings) as ingest, show_progress() as progress:
            task = progress.add_task("importing", total=total)

            def told(path: Path, outcome: Outcome | DrimboxError) -> None:
                said[_word(outcome)] += 1
                progress.advance(task)
                if isinstance(outcome, DrimboxError):
                    print(f"{path}: {outcome}", file=sys.stderr)

            try:
                credentials = Credentials("operator", "127.0.0.1")
                uvloop.run(ImportFiles(ingest)(find_files(paths), credentials, told))
            finally:
                print(", ".join(f"{said[word]} {word}" for word in ("kept", "already there", "set aside", "refused")))
    except Unavailable as error:
        if error.what != "node.data_dir":
            raise
        raise Unavailable("import", "a node runs on this folder: use drimbox send, or stop it") from error
    raise typer.Exit(1 if said["refused"] else 0)


def _word(outcome: Outcome | DrimboxError) -> str:
    match outcome:
        case Kept():
            return "kept"
        case AlreadyKept():
            return "already there"
        case DrimboxError():
            return "refused"
        case _:
            return "set aside"


@app.command()
def send(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files and folders.", exists=True)],
    to: Annotated[str, typer.Option("--to", help="HOST:PORT")],
    aet: Annotated[str, typer.Option("--aet", help="Called AE title.")] = "DRIMBOX",
    calling: Annotated[str, typer.Option("--calling", help="Calling AE title.")] = "DRIMBOX-SEND",
    tls_ca: Annotated[Path | None, typer.Option("--tls-ca", help="Use TLS; PEM of the authorities to believe.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option("--tls-certificate", help="PEM to show.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="PEM of its key.")] = None,
    tls_name: Annotated[str, typer.Option("--tls-name", help="Name in the other certificate, if not HOST.")] = "",
    user: Annotated[str, typer.Option("--user", help="User to name.")] = "",
    passcode_file: Annotated[Path | None, typer.Option("--passcode-file", help="Passcode in its first line.")] = None,
) -> None:
    """C-STORE SCU, for tests and migrations: data sets go as they are in the files. Exit 1 when one was refused."""
    from drimbox.pacs.send import send_files  # brings pynetdicom in: only here

    host, _, port = to.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise Malformed("--to", "HOST:PORT, for example 127.0.0.1:11112")
    for option, title in (("--aet", aet), ("--calling", calling)):
        if not 0 < len(title) <= _LONGEST_TITLE:
            raise Malformed(option, f"an AE title has 1 to {_LONGEST_TITLE} characters")
    try:
        place = Destination(
            ae_title=aet, host=host.strip("[]"), port=int(port),
            tls_ca=tls_ca, tls_certificate=tls_certificate, tls_key=tls_key, tls_name=tls_name,
            user=user, passcode_file=passcode_file,
        )  # fmt: skip
    except ValidationError as error:
        raise Malformed("send", "; ".join(one["msg"] for one in error.errors())) from error
    total = sum(1 for _ in find_files(paths))
    said: Counter[str] = Counter()
    with show_progress() as progress:
        task = progress.add_task("sending", total=total)

        def told(path: Path, outcome: int | DrimboxError) -> None:
            said[_sent(outcome)] += 1
            progress.advance(task)
            if outcome != _SUCCESS:
                what = outcome if isinstance(outcome, DrimboxError) else f"status {outcome:04X}"
                print(f"{path}: {what}", file=sys.stderr)

        try:
            uvloop.run(send_files(find_files(paths), place, calling, told))
        finally:
            words = ["sent", *(word for word in ("with a warning", "refused") if said[word])]
            left = total - said.total()
            print(", ".join(f"{said[word]} {word}" for word in words) + (f", {left} not tried" if left else ""))
    raise typer.Exit(1 if said["refused"] else 0)


def _sent(outcome: int | DrimboxError) -> str:
    if isinstance(outcome, DrimboxError):
        return "refused"
    if outcome == _SUCCESS:
        return "sent"
    return "with a warning" if outcome >> 12 == 0xB else "refused"  # PS3.7 annex C


@app.command("rebuild-index")
def rebuild(config: Config = None) -> None:
    """Make the index again from the packs, while no node runs. The old one is kept under a dated name."""
    settings = read_settings(config)
    root = _own(settings)
    lock = lock_folder(root.parent)
    try:
        with show_progress() as progress:
            task = progress.add_task("rebuilding", total=None)
            rescued = rescue_outbox(root)
            rebuilt = rebuild_index(root, lambda done, total: progress.update(task, completed=done, total=total))
    finally:
        os.close(lock)
    for file in rebuilt.damaged:
        print(f"damaged  {root / file}")
    for lost in (*(rescued or ()), *rebuilt.lost):
        print(f"drimbox: lost: {lost}", file=sys.stderr)
    if rebuilt.old:
        print(f"the old index is now {rebuilt.old}")
    rows = rebuilt.rows
    outbox = "the outbox is as it was" if rescued is None else "the outbox was made again from what could be read of it"
    print(f"{rows['instance']} instances, {rows['set_aside']} set aside, {len(rebuilt.damaged)} damaged; {outbox}")


@app.command("scrub")
def read_again(
    rate: Annotated[int, typer.Option("--rate", min=0, help="MiB a second at most; 0 for no limit.")] = 0,
    config: Config = None,
) -> None:
    """Read every kept instance again and compare it with what was received. Exit 1 when one is damaged or missing."""
    root = _own(read_settings(config))
    read = Counter[str]()
    with show_progress() as progress:
        task = progress.add_task("reading", total=count_instances(root))

        def told(size_bytes: int) -> None:
            read["instances"] += 1
            read["bytes"] += size_bytes
            progress.advance(task)

        for finding in scrub(root, rate << 20, told):
            read[finding.kind] += 1
            _show(root, finding)
    damaged, missing = read["damaged"], read["missing"]
    print(f"{read['instances']} instances, {read['bytes'] >> 20} MiB: {damaged} damaged, {missing} missing")
    raise typer.Exit(1 if read["damaged"] + read["missing"] else 0)


@app.command()
def extract(
    place: Annotated[str, typer.Argument(help="PACK@OFFSET, as scrub and rebuild-index name it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    config: Config = None,
) -> None:
    """Write one kept instance as a Part 10 file, damaged or not."""
    name, _, offset = place.rpartition("@")
    root = _own(read_settings(config))
    if not offset.isdecimal() or not name:
        raise Malformed("place", "PACK@OFFSET is wanted, for example packs/1795772047.701849-c690718d.pack@64")
    write_file(output, read_object(root, str((root / name).relative_to(root)), int(offset)))


def _show(root: Path, finding: Finding) -> None:
    print(f"{finding.kind}  {root / finding.file}  {finding.sop_uid or '-'}  {finding.why}", flush=True)


def _own(settings: Settings) -> Path:
    root = settings.node.data_dir.resolve() / "own"
    if not root.is_dir():
        raise NotFound("node.data_dir", f"there is no archive at {root}: is the configuration the node's?")
    return root
