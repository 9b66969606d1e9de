"""User identity (PS3.7 D.3.3.7), asked by hand, by pynetdicom and by DCMTK: who is let in, what is answered."""

import asyncio
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from network import running
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation

sys.path.append(str(Path(__file__).parent))
from dicom_scp_stage import MemoryIngest, Stage, open_door
from raw_scu import CT, EXPLICIT, RawScu, build_request

from drimbox.auth.users import new_passcode, write_users
from drimbox.dicom.pdu import Pdu, read_associate_accept
from drimbox.dicom.user_information import IdentityKind, UserIdentity, UserInformation
from drimbox.dicom_scp.identities import Identities
from drimbox.errors import Unavailable, Unidentified
from drimbox.pacs.client import ArchiveScu
from drimbox.settings import Destination, Dicom

SECRET = b"correct horse battery"
REJECTED = (Pdu.ASSOCIATE_RJ, bytes((0, 1, 2, 1)))  # PS3.7 D.3.3.7: permanent, from the ACSE, no reason told
BUSY = (Pdu.ASSOCIATE_RJ, bytes((0, 2, 3, 1)))
VERIFICATION = "1.2.840.10008.1.1"

needs_dcmtk = pytest.mark.skipif(not shutil.which("echoscu"), reason="DCMTK is not installed")


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("users") / "users"
    write_users(file, {"ct1": new_passcode(SECRET), "kiosk": None})
    return file


@pytest.fixture(scope="module")
def stage(users: Path):
    with open_door(MemoryIngest(), users=users, users_required=False) as stage:
        yield stage


def named(kind: int, primary: bytes, secondary: bytes = b"", *, answer: bool = True) -> UserIdentity:
    return UserIdentity(kind, answer, primary, secondary)


def ask(stage: Stage, identity: UserIdentity | None) -> tuple[Pdu, bytes] | None:
    user = UserInformation(16384, "1.2.3", identity=identity)
    with RawScu(stage.place, timeout_s=120) as scu:
        scu.send(build_request([(CT, [EXPLICIT])], user=user))
        return scu.receive()


def answered(answer: tuple[Pdu, bytes] | None) -> bytes | None:
    """The server response of an acceptance."""
    assert answer is not None
    assert answer[0] is Pdu.ASSOCIATE_AC, answer
    return read_associate_accept(answer[1]).user.identity_answer


def test_the_right_passcode_is_answered_when_that_is_wanted(stage: Stage) -> None:
    assert answered(ask(stage, named(2, b"ct1", SECRET))) == b""
    assert answered(ask(stage, named(2, b"ct1", SECRET, answer=False))) is None
    assert answered(ask(stage, None)) is None


@pytest.mark.parametrize(
    "identity",
    [
        named(2, b"ct1", b"wrong"),
        named(2, b"ct1"),
        named(2, b"nobody", SECRET),
        named(2, b"kiosk"),
        named(2, b"kiosk", SECRET),
        named(2, b"\xff\xfe", SECRET),
        named(1, b"ct1"),
        named(1, b"kiosk"),
        named(3, b"ticket"),
        named(4, b"<Assertion/>"),
        named(5, b"e30.e30."),
        named(0, b""),
        named(9, b"x"),
    ],
)
def test_what_is_not_believed_is_rejected(stage: Stage, identity: UserIdentity) -> None:
    assert ask(stage, identity) == REJECTED


def test_a_name_alone_is_enough_only_where_both_sides_of_the_configuration_say_so(users: Path) -> None:
    with open_door(MemoryIngest(), users=users, users_without_passcode=True) as stage:
        assert answered(ask(stage, named(1, b"kiosk"))) == b""
        assert ask(stage, named(1, b"ct1")) == REJECTED  # who has a passcode shows it
        assert ask(stage, named(1, b"nobody")) == REJECTED


def test_other_kinds_can_be_passed_over_and_are_then_not_answered(users: Path) -> None:
    with open_door(MemoryIngest(), users=users, users_of_other_kinds="ignored") as stage:
        for kind in (3, 4, 5):
            assert answered(ask(stage, named(kind, b"token"))) is None
        assert ask(stage, named(2, b"ct1", b"wrong")) == REJECTED


def test_without_users_the_item_is_read_over() -> None:
    ingest = MemoryIngest()
    with open_door(ingest) as stage:
        for kind in (1, 2, 3, 4, 5):
            assert answered(ask(stage, named(kind, b"ct1", b"anything"))) is None
    assert {credentials.user for credentials in ingest.admitted} == {""}


def test_a_user_removed_from_the_file_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "users"
    write_users(file, {"ct1": new_passcode(SECRET)})
    with open_door(MemoryIngest(), users=file) as stage:
        assert answered(ask(stage, named(2, b"ct1", SECRET))) == b""
        file.write_text("not a line of users")  # an accident: who came in still does
        assert answered(ask(stage, named(2, b"ct1", SECRET))) == b""
        write_users(file, {"ct2": new_passcode(SECRET)})
        assert ask(stage, named(2, b"ct1", SECRET)) == REJECTED
        assert answered(ask(stage, named(2, b"ct2", SECRET))) == b""


def test_a_flood_of_wrong_passcodes_stops_nobody_else(users: Path) -> None:
    """Who was right a moment ago, and who names nobody, come in beside it, from the same address too; the flood is told
    to come again.
    """
    with open_door(MemoryIngest(), users=users, request_timeout_s=120) as stage, ThreadPoolExecutor(24) as pool:
        assert answered(ask(stage, named(2, b"ct1", SECRET))) == b""
        flood = [pool.submit(ask, stage, named(2, b"ct1", b"flood %d" % number)) for number in range(24)]
        for _ in range(20):
            assert answered(ask(stage, None)) is None
            assert answered(ask(stage, named(2, b"ct1", SECRET))) == b""
        turned_away = {done.result(120) for done in flood}
        assert answered(ask(stage, named(2, b"ct1", SECRET))) == b""
    assert REJECTED in turned_away
    assert turned_away <= {REJECTED, BUSY}


async def test_so_many_checks_of_one_address_wait_and_no_more(users: Path) -> None:
    settings, identities = Dicom(users=users), Identities()
    wrong = (named(2, b"ct1", b"wrong %d" % number) for number in range(20))
    checks = [identities.prove(identity, "192.0.2.7", settings) for identity in wrong]
    other = identities.prove(named(2, b"ct1", SECRET), "192.0.2.8", settings)
    *refusals, is_right = await asyncio.gather(*checks, other, return_exceptions=True)
    assert is_right is True
    told = [type(refusal) for refusal in refusals]
    assert 1 <= told.count(Unavailable) <= 4  # fewer where a check was over before the last one came
    assert told.count(Unidentified) == 20 - told.count(Unavailable)


# --- The peers --------------------------------------------------------------------------------------------------------


def pynetdicom(stage: Stage, kind: int, primary: bytes, secondary: bytes = b"") -> tuple[bool, bool]:
    """Was the association accepted, and the identity answered?"""
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field = kind, primary
    if secondary:
        identity.secondary_field = secondary
    identity.positive_response_requested = True
    ae = AE("PEER")
    ae.add_requested_context(VERIFICATION)
    association = ae.associate(*stage.place, ext_neg=[identity])
    response = association.acceptor.user_identity
    is_accepted = association.is_established
    if is_accepted:
        assert association.send_c_echo().Status == 0
        association.release()
    return is_accepted, response is not None


def test_pynetdicom(stage: Stage) -> None:
    assert pynetdicom(stage, 2, b"ct1", SECRET) == (True, True)
    assert pynetdicom(stage, 2, b"ct1", b"wrong") == (False, False)
    assert pynetdicom(stage, 1, b"ct1") == (False, False)
    assert pynetdicom(stage, 3, b"ticket") == (False, False)


@needs_dcmtk
def test_dcmtk(stage: Stage, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_bytes(b"e30.e30.")

    def echo(*options: str) -> tuple[int, str]:
        host, port = stage.place
        done = subprocess.run(
            ["storescu", "-v", *options, host, str(port), str(token)], capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout + done.stderr

    def is_rejected(*options: str) -> bool:
        return "Association Rejected" in echo(*options)[1] or "Rejected Permanent" in echo(*options)[1]

    assert is_rejected("--user", "ct1", "--password", "wrong")
    assert is_rejected("--user", "ct1")
    assert is_rejected("--jwt", str(token))
    assert not is_rejected("--user", "ct1", "--password", SECRET.decode(), "--pos-response")


def test_we_name_the_user_that_the_configuration_has_for_the_other_end(stage: Stage, tmp_path: Path) -> None:
    host, port = stage.place
    (tmp_path / "right").write_bytes(SECRET + b"\r\nof ct1\n")
    (tmp_path / "wrong").write_text("another passcode")

    def echo(**user: Any) -> None:
        place = Destination(ae_title="DRIMBOX", host=host, port=port, **user)
        asyncio.run(ArchiveScu(place, "SENDER", 60, 60).echo())

    echo()
    echo(user="ct1", passcode_file=tmp_path / "right")
    for wrong in (tmp_path / "wrong", tmp_path / "absent", None):
        with pytest.raises(Unavailable):
            echo(user="ct1", passcode_file=wrong)
    with pytest.raises(ValueError, match="passcode_file"):
        echo(passcode_file=tmp_path / "right")


# --- A whole node -----------------------------------------------------------------------------------------------------


async def test_a_node_traces_the_user_and_never_the_passcode(tmp_path: Path) -> None:
    file = tmp_path / "users"
    write_users(file, {"ct1": new_passcode(SECRET)})
    dicom: dict[str, Any] = {"users": str(file), "users_required": True}
    async with running(tmp_path, dicom=dicom) as site:
        place = ("127.0.0.1", site.node.dicom_port)

        def call(identity: UserIdentity | None) -> tuple[Pdu, bytes] | None:
            with RawScu(place) as scu:
                user = UserInformation(16384, "1.2.3", identity=identity)
                scu.send(build_request([(CT, [EXPLICIT])], called="NODE", user=user))
                return scu.receive()

        accepted = await asyncio.to_thread(call, named(IdentityKind.NAME_AND_PASSCODE, b"ct1", SECRET))
        wrong = await asyncio.to_thread(call, named(IdentityKind.NAME_AND_PASSCODE, b"ct1", b"a wrong passcode"))
        nobody = await asyncio.to_thread(call, None)
    assert answered(accepted) == b""
    assert (wrong, nobody) == (REJECTED, REJECTED)
    text = (site.folder / "node" / "trail" / "trail.jsonl").read_text()
    traces = [json.loads(line) for line in text.splitlines()]
    assert any(it["outcome"] == "success" and it["who"].endswith("user:ct1") for it in traces)
    assert [it["outcome"] for it in traces if it["action"] == "store"].count("refused") == 2
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert SECRET not in path.read_bytes(), path
            assert b"a wrong passcode" not in path.read_bytes(), path


async def test_a_caller_may_be_bound_to_its_user(tmp_path: Path) -> None:
    """Another sound user is not that one, and a name alone proves nothing."""
    file = tmp_path / "users"
    write_users(file, {"ct1": new_passcode(SECRET), "mr1": new_passcode(SECRET)})
    callers = [
        {"ae_title": "CT1", "address": "127.0.0.1", "user": "ct1"},
        {"ae_title": "OLD", "address": "127.0.0.1"},
    ]
    async with running(tmp_path, dicom={"users": str(file), "callers": callers}) as site:

        def call(calling: str, identity: UserIdentity | None) -> tuple[Pdu, bytes] | None:
            with RawScu(("127.0.0.1", site.node.dicom_port)) as scu:
                user = UserInformation(16384, "1.2.3", identity=identity)
                scu.send(build_request([(CT, [EXPLICIT])], calling, "NODE", user))
                return scu.receive()

        right, other, alone = named(2, b"ct1", SECRET), named(2, b"mr1", SECRET), named(1, b"ct1")
        assert answered(await asyncio.to_thread(call, "CT1", right)) == b""
        assert answered(await asyncio.to_thread(call, "OLD", None)) is None
        assert answered(await asyncio.to_thread(call, "OLD", other)) == b""
        unknown = (Pdu.ASSOCIATE_RJ, bytes((0, 1, 1, 3)))
        assert await asyncio.to_thread(call, "CT1", None) == unknown
        assert await asyncio.to_thread(call, "CT1", other) == unknown
        assert await asyncio.to_thread(call, "CT1", alone) == REJECTED
        assert await asyncio.to_thread(call, "OLD", named(2, b"ct1", b"wrong")) == REJECTED


def test_the_command_keeps_users(tmp_path: Path) -> None:
    file = tmp_path / "users"
    (tmp_path / "drimbox.toml").write_text(f'[dicom]\nusers = "{file}"\n')

    def user(*arguments: str, typed: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "drimbox", "user", *arguments],
            cwd=tmp_path, input=typed, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    assert user("list")[0] == 1
    assert user("add", "ct1", typed="short\n")[0] == 2
    assert user("add", "ct1", typed=f"{SECRET.decode()}\n")[0] == 0
    assert user("add", "kiosk", "--without-passcode")[0] == 0
    assert user("list") == (0, "ct1\nkiosk  (no passcode)\n")
    with open_door(MemoryIngest(), users=file) as stage:
        assert answered(ask(stage, named(2, b"ct1", SECRET))) == b""
    assert user("remove", "ct1")[0] == 0
    assert user("remove", "ct1")[0] == 1
    assert user("list") == (0, "kiosk  (no passcode)\n")
