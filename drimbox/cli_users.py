"""`drimbox user`: who may name themselves to the DIMSE door. A passcode is typed, or read from standard input."""

import getpass
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from drimbox.auth.users import Users, checked_name, new_passcode, read_users, write_users
from drimbox.cli_upkeep import Config
from drimbox.errors import Malformed, NotFound
from drimbox.settings import read_settings

app = typer.Typer(help="Users of the DIMSE door (dicom.users).", no_args_is_help=True)

_SHORTEST: Final = 12
_LONGEST_BYTES: Final = 65535  # what the field of the negotiation holds

Name = Annotated[str, typer.Argument(help="As it is named when an association is opened.")]


@app.command()
def add(
    name: Name,
    alone: Annotated[
        bool, typer.Option("--without-passcode", help="The name is enough, where dicom.users_without_passcode is true.")
    ] = False,
    config: Config = None,
) -> None:
    """Let a user in, or give it another passcode. A node that runs knows at the next association."""
    path, users = _users(config, may_be_new=True)
    passcode = None if alone else new_passcode(_read_passcode())
    write_users(path, {**users, checked_name(name): passcode})
    print(f"{name} is in {path}")


@app.command()
def remove(name: Name, config: Config = None) -> None:
    """Let a user in no more."""
    path, users = _users(config)
    if name not in users:
        raise NotFound("user", f"{path} names no such user: see drimbox user list")
    write_users(path, {other: passcode for other, passcode in users.items() if other != name})
    print(f"{name} is not in {path} any more")


@app.command("list")
def list_users(config: Config = None) -> None:
    """Who may come in."""
    for name, passcode in _users(config)[1].items():
        print(name if passcode else f"{name}  (no passcode)")


def _users(config: Path | None, *, may_be_new: bool = False) -> tuple[Path, Users]:
    path = read_settings(config).dicom.users
    if path is None:
        raise Malformed("dicom.users", "set it to the file that is to list the users")
    if may_be_new and not path.exists():
        return path, {}
    return path, read_users(path)


def _read_passcode() -> bytes:
    """Asked twice at a terminal; else the first line of the input. It is never an argument: those are seen by all."""
    if sys.stdin.isatty():
        passcode = getpass.getpass("Passcode: ")
        if getpass.getpass("Again: ") != passcode:
            raise Malformed("passcode", "the two are not the same")
    else:
        passcode = sys.stdin.readline().rstrip("\r\n")
    data = passcode.encode("utf-8")
    if len(passcode) < _SHORTEST or len(data) > _LONGEST_BYTES:
        raise Malformed("passcode", f"at least {_SHORTEST} characters, at most {_LONGEST_BYTES} bytes")
    return data
