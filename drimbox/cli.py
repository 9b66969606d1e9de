"""The command line (interface.md): exit code 0 done, 1 the work failed, 2 wrong usage or configuration."""

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from drimbox import __version__, cli_upkeep
from drimbox.app import build, build_outbox
from drimbox.audit.trail import verify_trail
from drimbox.checks import run_checks
from drimbox.cli_upkeep import Config
from drimbox.durable import write_file
from drimbox.errors import DrimboxError, Malformed, NotFound
from drimbox.kos.build import Profile
from drimbox.kos.rewrite import manifest_in_profile
from drimbox.log import set_up_log
from drimbox.settings import Settings, read_settings
from drimbox.storage.outbox import Outbox

app = typer.Typer(
    help="DRIMbox: the gateway between a radiology centre and the national imaging network DRIM-M.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
outbox_app = typer.Typer(help="What is owed to the DMP.", invoke_without_command=True)
app.add_typer(outbox_app, name="outbox")
app.add_typer(cli_upkeep.app)


def main() -> None:
    """Run a command; say in one line what went wrong and what to do."""
    try:
        sys.exit(app(standalone_mode=False))  # what a command raised with typer.Exit comes back as a value
    except typer.Abort:
        sys.exit(1)
    except Malformed as error:
        _fail(error, 2)
    except (DrimboxError, OSError) as error:
        _fail(error, 1)
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "show"):  # click's usage errors
            error.show()
            sys.exit(error.exit_code)
        raise


def _fail(error: Exception, code: int) -> None:
    print(f"drimbox: {error}", file=sys.stderr)
    sys.exit(code)


def _run(coroutine: Coroutine[Any, Any, int]) -> None:
    raise typer.Exit(uvloop.run(coroutine))


@app.command()
def serve(
    config: Config = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, max=64, help="Processes that receive.")] = None,
) -> None:
    """The node: DIMSE, DICOMweb, MLLP, portal, jobs. SIGTERM finishes what was accepted, then exits 0."""
    set_up_log()
    settings = read_settings(config)
    if workers is not None:
        settings = settings.model_copy(update={"node": settings.node.model_copy(update={"workers": workers})})
    _run(_serve(settings))


async def _serve(settings: Settings) -> int:
    node = build(settings)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        addresses = await node.start()
        print("ready", *(f"{door}={address}" for door, address in addresses.items()), flush=True)
        await stopped.wait()
    finally:
        await node.stop()
    return 0


@app.command()
def sandbox(
    once: Annotated[bool, typer.Option("--once", help="Verify pixel for pixel, print one line, exit.")] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder to keep; a fresh temporary one if absent.")
    ] = None,
    study: Annotated[Path | None, typer.Option("--study", help="Folder of one study; a small one is shipped.")] = None,
) -> None:
    """A whole DRIM-M network on loopback, with one study already through it."""
    from drimbox.sandbox.network import run_sandbox  # brings the neighbours' code in: only here

    set_up_log(logging.WARNING)
    _run(run_sandbox(once=once, data=data, study=study))


@app.command()
def manifest(
    study_uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write; else standard output.")] = None,
    profile: Annotated[Profile, typer.Option(help="What it is written for; drim is what the DMP holds.")] = "drim",
    config: Config = None,
) -> None:
    """Write the KOS the DMP holds of a study, or the same references in another profile."""

    async def work() -> int:
        outbox = build_outbox(read_settings(config))
        try:
            published = await outbox.published(study_uid)
        finally:
            outbox.database.close()
        if published is None:
            print("drimbox: no manifest of this study was published: see drimbox outbox", file=sys.stderr)
            return 1
        kos = manifest_in_profile(published.submission.manifest, profile)
        if output is None:
            sys.stdout.buffer.write(kos)
        else:
            write_file(output, kos)
        return 0

    _run(work())


@outbox_app.callback()
def outbox_default(context: typer.Context, config: Config = None) -> None:
    """List what is owed, newest first."""
    if context.invoked_subcommand is None:
        outbox_list(config)


def _with_outbox(config: Path | None, work: Any) -> None:
    async def run() -> int:
        outbox = build_outbox(read_settings(config))
        try:
            await work(outbox)
        finally:
            outbox.database.close()
        return 0

    _run(run())


def _moment(seconds: float) -> str:
    """As the clock on the wall shows it."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


@outbox_app.command("list")
def outbox_list(config: Config = None) -> None:
    """List what is owed, newest first."""

    async def work(outbox: Outbox) -> None:
        table = Table("id", "study", "kind", "state", "cause", "since", "next try", "attempts", "last error")
        for item in await outbox.list():
            plain = (str(item[key]) for key in ("id", "study_uid", "kind", "state", "cause"))
            waiting = item["state"] in ("due", "leased", "frozen")
            next_try = _moment(item["next_try"]) if waiting else ""
            since, error = _moment(item["created_at"]), item["last_error"]
            table.add_row(*plain, since, next_try, str(item["attempts"]), error)
        Console(width=None if sys.stdout.isatty() else 200).print(table)

    _with_outbox(config, work)


@outbox_app.command("show")
def outbox_show(job_id: int, config: Config = None) -> None:
    """One item, field by field."""

    async def work(outbox: Outbox) -> None:
        for key, value in (await outbox.show(job_id)).items():
            print(f"{key}: {value}")

    _with_outbox(config, work)


@outbox_app.command("retry")
def outbox_retry(job_id: int, config: Config = None) -> None:
    """Attempt an item now; a parked one goes on from where it stood."""
    _with_outbox(config, lambda outbox: outbox.retry(job_id))


Reason = Annotated[str, typer.Option("--reason", help="For whoever looks at the item later; nothing of a patient.")]


@outbox_app.command("park")
def outbox_park(job_id: int, reason: Reason = "parked by hand", config: Config = None) -> None:
    """No further attempt until someone says retry."""
    _with_outbox(config, lambda outbox: outbox.park(job_id, reason))


@outbox_app.command("discard")
def outbox_discard(job_id: int, reason: Reason, config: Config = None) -> None:
    """It is not owed to the DMP any more; the item stays in the list with its reason."""
    _with_outbox(config, lambda outbox: outbox.discard(job_id, reason))


@app.command("verify-trail")
def verify(config: Config = None) -> None:
    """Check the audit chains, each from its first line to its last."""
    folder = read_settings(config).node.data_dir / "trail"
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise NotFound("node.data_dir", f"{folder} holds no trail: give the node's configuration with --config")
    count = sum(verify_trail(file) for file in files)
    print(f"{count} traces in {len(files)} files, chain intact")


@app.command()
def check(config: Config = None) -> None:
    """Configuration, disk, clock, certificates and neighbours: one line each; exit 1 if one fails."""
    results = uvloop.run(run_checks(read_settings(config)))
    width = min(30, max(len(result.name) for result in results))
    for result in results:
        print(f"{'ok  ' if result.ok else 'FAIL'}  {result.name.ljust(width)}  {result.said}")
    raise typer.Exit(0 if all(result.ok for result in results) else 1)


@app.command()
def version() -> None:
    """The version of this program."""
    print(__version__)
