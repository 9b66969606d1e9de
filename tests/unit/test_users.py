"""The file of the DIMSE users: what is believed of it, and that no passcode is in it."""

import stat
from pathlib import Path

import pytest

from drimbox.auth.users import checked_name, new_passcode, read_users, write_users
from drimbox.errors import Malformed, NotFound

# RFC 7914 §12, third vector: "pleaseletmein", "SodiumChloride", N 16384, r 8, p 1.
RFC = (
    "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$"
    "cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw"
)


def test_the_vector_of_the_rfc(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"# by hand\n\nct 1:{RFC}\nradiologue:\n")
    users = read_users(file)
    assert list(users) == ["ct 1", "radiologue"]
    passcode = users["ct 1"]
    assert passcode is not None
    assert passcode.is_of(b"pleaseletmein")
    assert not passcode.is_of(b"pleaseletmeout")
    assert not passcode.is_of(b"")
    assert users["radiologue"] is None


def test_what_is_written_is_read_and_is_for_the_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "users"
    secret = "correct horse é".encode()
    write_users(file, {"zoé": new_passcode(secret), "alone": None})
    users = read_users(file)
    assert set(users) == {"zoé", "alone"}
    assert users["zoé"] is not None
    assert users["zoé"].is_of(secret)
    assert b"correct" not in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "salt" not in repr(users["zoé"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nobody\n", "line 1: no colon"),
        (f"a:{RFC}\na:{RFC}\n", "line 2"),
        ("a:secret in clear\n", "line 1"),
        (f"a:{RFC.replace('ln=14', 'ln=30')}\n", "beyond"),
        (f"a:{RFC.replace('r=8', 'r=0')}\n", "beyond"),
        (f"a:{RFC.replace('ln=14,r=8', 'ln=20,r=32')}\n", "beyond"),
        ("a:$scrypt$ln=14,r=8,p=1$AAAA$AAAA\n", "16 to 64"),
        (" a:\n", "characters"),
    ],
)
def test_a_wrong_line_is_named_and_its_hash_is_not_told(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "users"
    file.write_text(text)
    with pytest.raises(Malformed, match=why) as refusal:
        read_users(file)
    assert "secret" not in str(refusal.value)
    assert "U29kaXVt" not in str(refusal.value)


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_users(tmp_path / "users")
    (tmp_path / "users").write_bytes(b"\xff\xfe")
    with pytest.raises(Malformed):
        read_users(tmp_path / "users")


@pytest.mark.parametrize("name", ["", "a:b", "a\\b", " a", "a ", "a\nb", "#a", "x" * 65, "a\x00"])
def test_names_that_a_line_or_the_trail_could_not_hold(name: str) -> None:
    with pytest.raises(Malformed):
        checked_name(name)
