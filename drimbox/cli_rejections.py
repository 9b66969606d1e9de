"""`drimbox rejections`: what notes and removals took out of use, and how a wrong one is taken back. Traced."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from drimbox.app import open_readmit
from drimbox.cli_outbox import moment, this_person
from drimbox.cli_upkeep import Config
from drimbox.dicom.uid import checked_uid
from drimbox.flows.readmit import REMOVED, Readmit
from drimbox.model import Credentials
from drimbox.settings import read_settings

app = typer.Typer(help="What rejection notes and removals took out of use.", invoke_without_command=True)

_WORDS: Final = {
    "113001": "quality",
    "113037": "patient safety",
    "113038": "wrong worklist entry",
    "113039": "retention expired",
    REMOVED: "removed by the operator",
}
Study = Annotated[str, typer.Option("--study", help="Only what concerns this study.")]


@app.callback()
def default(context: typer.Context, study: Study = "", config: Config = None) -> None:
    """List the newest rejections."""
    if context.invoked_subcommand is None:
        list_notes(study, config)


@app.command("list")
def list_notes(study: Study = "", config: Config = None) -> None:
    """List the newest 200: the note, why, since when, a study, how many instances it named and keeps out of use."""

    async def work(readmit: Readmit, person: Credentials) -> None:
        table = Table("note", "why", "since", "study", "instances", "out of use")
        for note in await readmit.list(person, checked_uid(study) if study else ""):
            since = moment(note.at)
            more = f" and {note.studies - 1} more" if note.studies > 1 else ""
            why = _WORDS.get(note.title, note.title)
            table.add_row(note.note_uid, why, since, note.study_uid + more, str(note.instances), str(note.in_force))
        Console(width=None if sys.stdout.isatty() else 240).print(table)

    _with_readmit(config, work)


@app.command()
def undo(
    note_uid: Annotated[str, typer.Argument(help="The note, as the list shows it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask again.")] = False,
    config: Config = None,
) -> None:
    """Show again what a note took out of use by mistake. Manifests follow; the same note sent again changes nothing."""
    if sys.stdin.isatty() and not yes:
        typer.confirm(f"Everything that {note_uid} rejected will be shown again. Undo it?", abort=True)

    async def work(readmit: Readmit, person: Credentials) -> None:
        done = await readmit.undo(person, note_uid)
        still = f"; {done.still_out} of them stay out of use because of another note" if done.still_out else ""
        print(f"no longer rejected by {note_uid}: {done.instances}{still}")

    _with_readmit(config, work)


def _with_readmit(config: Path | None, work: Callable[[Readmit, Credentials], Awaitable[None]]) -> None:
    async def run() -> None:
        with open_readmit(read_settings(config)) as readmit:
            await work(readmit, this_person())

    uvloop.run(run())
