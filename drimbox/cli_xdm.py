"""`drimbox xdm`: the archive of submissions, given to another box or taken over from one. Beside a running node too."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from drimbox.app import open_submissions
from drimbox.cli_outbox import this_person
from drimbox.cli_upkeep import Config, show_progress
from drimbox.errors import DrimboxError
from drimbox.settings import read_settings
from drimbox.storage.earlier import Outcome

app = typer.Typer(help="Submissions as IHE XDM media: export, import.", no_args_is_help=True)


@app.command("export")
def export(
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for the media, made if need be.")],
    study: Annotated[str, typer.Option("--study", help="Study Instance UID: this study alone.")] = "",
    config: Config = None,
) -> None:
    """Write what the DMP holds of us, study by study, as XDM media: KA<year><month>.zip.

    In each: the manifest, its metadata, its signature, and the report. They are health data: keep them encrypted.
    """
    said = Counter[bool]()
    with open_submissions(read_settings(config)) as (leave, _), show_progress() as progress:
        task = progress.add_task("exporting", total=None)

        def told(written: bool) -> None:
            said[written] += 1
            progress.advance(task)

        media = uvloop.run(leave(this_person(), folder, told, study))
    for path in media:
        print(path)
    left = f", {said[False]} left out: they were taken over without metadata" if said[False] else ""
    print(f"{said[True]} submissions in {len(media)} media{left}")
    raise typer.Exit(0 if said[True] or not study else 1)


@app.command("import")
def bring_in(
    paths: Annotated[
        list[Path], typer.Argument(help="XDM media (ZIP, or their folder), or manifests (KOS).", exists=True)
    ],
    config: Config = None,
) -> None:
    """Take over submissions another box made, so that this one replaces and withdraws them. Exit 1 if one was refused.

    Size and hash of each document are checked. What this node published itself stays. Import the images with
    `drimbox import` or send them: an exam whose images then lie here is published anew with this node's address.
    """
    said: Counter[str] = Counter()
    with open_submissions(read_settings(config)) as (_, bring), show_progress() as progress:
        task = progress.add_task("importing", total=None)
        for path in paths:

            def told(name: str, outcome: Outcome | DrimboxError, path: Path = path) -> None:
                refused = isinstance(outcome, DrimboxError)
                said["refused" if isinstance(outcome, DrimboxError) else outcome] += 1
                progress.advance(task)
                if refused:
                    print(f"{path}: {name}: {outcome}", file=sys.stderr)

            try:
                uvloop.run(bring(this_person(), path, told))
            except DrimboxError as error:
                said["refused"] += 1
                print(f"{path}: {error}", file=sys.stderr)
    print(", ".join(f"{said[word]} {word}" for word in ("imported", "already there", "superseded", "refused")))
    raise typer.Exit(1 if said["refused"] else 0)
