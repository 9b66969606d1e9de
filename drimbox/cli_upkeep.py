"""Commands on the archive itself: bring files in, make the index again, read everything again."""

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from drimbox.app import open_ingest
from drimbox.durable import lock_folder
from drimbox.errors import DrimboxError, NotFound, Unavailable
from drimbox.flows.import_files import ImportFiles, find_files
from drimbox.model import Credentials
from drimbox.settings import Settings, read_settings
from drimbox.storage.archive import AlreadyKept, Kept, Outcome
from drimbox.storage.outbox_file import rescue_outbox
from drimbox.storage.rebuild import rebuild_index
from drimbox.storage.scrub import Finding, count_files, scrub

app = typer.Typer()

Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings; see docs/settings.md.")]


def _progress() -> Progress:
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
        with open_ingest(settings) as ingest, _progress() as progress:
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


@app.command("rebuild-index")
def rebuild(config: Config = None) -> None:
    """Make the index again from the files, while no node runs. The old one is kept under a dated name."""
    settings = read_settings(config)
    root = _own(settings)
    lock = lock_folder(root.parent)
    try:
        with _progress() as progress:
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
    """Read every kept file again and compare it with what was received. Exit 1 when one is damaged or missing."""
    root = _own(read_settings(config))
    read = Counter[str]()
    with _progress() as progress:
        task = progress.add_task("reading", total=count_files(root))

        def told(size_bytes: int) -> None:
            read["files"] += 1
            read["bytes"] += size_bytes
            progress.advance(task)

        for finding in scrub(root, rate << 20, told):
            read[finding.kind] += 1
            _show(root, finding)
    print(f"{read['files']} files, {read['bytes'] >> 20} MiB: {read['damaged']} damaged, {read['missing']} missing")
    raise typer.Exit(1 if read["damaged"] + read["missing"] else 0)


def _show(root: Path, finding: Finding) -> None:
    print(f"{finding.kind}  {root / finding.file}  {finding.sop_uid or '-'}  {finding.why}", flush=True)


def _own(settings: Settings) -> Path:
    root = settings.node.data_dir.resolve() / "own"
    if not root.is_dir():
        raise NotFound("node.data_dir", f"there is no archive at {root}: is the configuration the node's?")
    return root
