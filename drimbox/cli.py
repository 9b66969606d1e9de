"""The command line (interface.md): exit code 0 done, 1 the work failed, 2 wrong usage or configuration."""

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from drimbox import __version__, cli_outbox, cli_rejections, cli_statistics, cli_upkeep, cli_users, cli_xdm
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

app = typer.Typer(
    help="DRIMbox: the gateway between a radiology centre and the national imaging network DRIM-M.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_outbox.app, name="outbox")
app.add_typer(cli_rejections.app, name="rejections")
app.add_typer(cli_users.app, name="user")
app.add_typer(cli_xdm.app, name="xdm")
app.add_typer(cli_upkeep.app)
app.add_typer(cli_statistics.app)


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
