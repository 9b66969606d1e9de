"""`drimbox outbox`: what is owed to the DMP, and what a person decides about it. Traced, beside a running node too."""

import os
import pwd
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from drimbox.app import open_desk
from drimbox.cli_upkeep import Config
from drimbox.flows.desk import Desk
from drimbox.model import Credentials, JobState
from drimbox.settings import read_settings

app = typer.Typer(help="What is owed to the DMP, and what a person decides about it.", invoke_without_command=True)

_WAITING: Final = ("due", "leased", "frozen")

Number = Annotated[int, typer.Argument(help="The id of the item, as the list shows it.", min=1)]
State = Annotated[JobState | None, typer.Option("--state", help="Only the items in this state.")]
Reason = Annotated[
    str, typer.Option("--reason", help="For whoever looks at the item later; 200 characters; nothing of a patient.")
]


def this_person() -> Credentials:
    """Who gives a command on this machine: the account it runs under."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under a number that has no name
        name = str(os.getuid())
    return Credentials("operator", "127.0.0.1", calling=name)


def _at_desk(config: Path | None, work: Callable[[Desk, Credentials], Awaitable[None]]) -> None:
    async def run() -> None:
        with open_desk(read_settings(config)) as desk:
            await work(desk, this_person())

    uvloop.run(run())


def moment(seconds: float) -> str:
    """As the clock on the wall shows it."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


@app.callback()
def default(context: typer.Context, state: State = None, config: Config = None) -> None:
    """List what is owed, newest first."""
    if context.invoked_subcommand is None:
        list_items(state, config)


@app.command("list")
def list_items(state: State = None, config: Config = None) -> None:
    """List the newest 200 items: what, why, since when, the next try, and what went wrong last."""

    async def work(desk: Desk, person: Credentials) -> None:
        table = Table("id", "study", "kind", "state", "cause", "since", "next try", "attempts", "last error")
        for item in await desk.list(person, state or ""):
            plain = (str(item[key]) for key in ("id", "study_uid", "kind", "state", "cause"))
            next_try = moment(item["next_try"]) if item["state"] in _WAITING else ""
            since, error = moment(item["created_at"]), item["last_error"]
            table.add_row(*plain, since, next_try, str(item["attempts"]), error)
        Console(width=None if sys.stdout.isatty() else 200).print(table)

    _at_desk(config, work)


@app.command("show")
def show(job_id: Number, config: Config = None) -> None:
    """One item, field by field."""
    _decide(config, lambda desk, person: desk.show(person, job_id))


@app.command("retry")
def retry(job_id: Number, config: Config = None) -> None:
    """Attempt an item now; a parked one goes on from where it stood."""
    _decide(config, lambda desk, person: desk.retry(person, job_id))


@app.command("park")
def park(job_id: Number, reason: Reason = "parked by hand", config: Config = None) -> None:
    """No further attempt until someone says retry."""
    _decide(config, lambda desk, person: desk.park(person, job_id, reason))


@app.command("discard")
def discard(
    job_id: Number,
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask again.")] = False,
    config: Config = None,
) -> None:
    """It is not owed to the DMP any more; the item stays in the list with its reason.

    Asks once more on a terminal: only a new report, or a new image of the exam, brings it back.
    """
    if sys.stdin.isatty() and not yes:
        typer.confirm(f"The DMP will not be told of item {job_id}. Discard it?", abort=True)
    _decide(config, lambda desk, person: desk.discard(person, job_id, reason))


def _decide(config: Path | None, decision: Callable[[Desk, Credentials], Awaitable[dict[str, Any]]]) -> None:
    """Do it, then print the item as it is now."""

    async def work(desk: Desk, person: Credentials) -> None:
        for key, value in (await decision(desk, person)).items():
            print(f"{key}: {value}")

    _at_desk(config, work)
