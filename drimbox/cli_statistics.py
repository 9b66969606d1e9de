"""`drimbox statistics`: the statistics file of the programme, for any days."""

import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop

from drimbox import clock
from drimbox.app import open_statistics
from drimbox.cli_outbox import this_person
from drimbox.cli_upkeep import Config
from drimbox.durable import new_file
from drimbox.errors import Malformed
from drimbox.settings import read_settings

app = typer.Typer()

_STDOUT: Final = Path("-")


@app.command("statistics")
def statistics(
    first: Annotated[str, typer.Option("--from", help="First day, YYYY-MM-DD; yesterday if absent.")] = "",
    last: Annotated[str, typer.Option("--to", help="Last day, included; the first one if absent.")] = "",
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; - for standard output.")] = _STDOUT,
    config: Config = None,
) -> None:
    """Write the statistics file (KPI) of some days: one line an operation, nothing of a patient or a professional.

    The node writes the one of each day by itself, into statistics/ of node.data_dir. Beside a running node too.
    """
    yesterday = clock.now().astimezone().date() - timedelta(days=1)
    begin = _day(first) if first else yesterday
    end = _day(last) if last else begin

    async def work() -> None:
        with open_statistics(read_settings(config)) as (admit, written):
            await admit(this_person(), "operate", detail="statistics written")
            if output == _STDOUT:
                await written.write(begin, end, sys.stdout.buffer)
                sys.stdout.flush()
            else:
                with new_file(output) as file:
                    await written.write(begin, end, file)

    uvloop.run(work())


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise Malformed("day", "YYYY-MM-DD is wanted, for example 2026-11-27") from error
