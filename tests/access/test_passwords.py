"""Names and passwords by a file: what it may hold, and that it is read again."""

import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest

from service.access.files import BadLine
from service.access.passwords import Passwords, line_for, users_of
from service.access.refusals import NotSignedIn
from tests.access.conftest import Clock, hashed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def passwords(passwords_file, clock):
    return Passwords(passwords_file, look_s=0, clock=clock)


def test_the_right_password_lets_in_with_what_the_line_permits(passwords):
    assert passwords.identify("alice", b"secret").scopes == {"read", "store", "delete", "render", "share"}
    assert passwords.identify("read", b"secret").scopes == {"read"}
    assert passwords.identify("read", b"secret").name == "read"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", b"wrong"),
        ("alice", b""),
        ("alice", b"secret\0"),
        ("alice", b"secret" + b"x" * 2000),
        ("alice ", b"secret"),
        ("Alice", b"secret"),
        ("nobody", b"secret"),
        ("", b"secret"),
        ("#", b"secret"),
    ],
)
def test_anything_else_does_not(passwords, name, password):
    with pytest.raises(NotSignedIn) as refusal:
        passwords.identify(name, password)
    assert str(refusal.value) == "The name or the password is wrong."  # whichever it is
    assert passwords.known(name, password) is None


def test_a_name_that_nobody_has_takes_a_hash_too(passwords, monkeypatch):
    costs = []

    def counting(password: bytes, against: bytes) -> bool:
        costs.append(against[4:6])
        return bcrypt_checkpw(password, against)

    bcrypt_checkpw = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", counting)
    for name, password in (("alice", b"wrong"), ("nobody", b"wrong"), ("alice", b"\0"), ("nobody", b"")):
        with pytest.raises(NotSignedIn):
            passwords.identify(name, password)
    assert costs == [b"04"] * 4


def test_a_password_that_was_right_is_known_for_a_while(passwords, clock):
    assert passwords.known("alice", b"secret") is None
    identity = passwords.identify("alice", b"secret")
    assert passwords.known("alice", b"secret") is identity
    assert passwords.known("alice", b"Secret") is None
    assert passwords.known("read", b"secret") is None
    clock.now += 300
    assert passwords.known("alice", b"secret") is None


def test_what_changes_in_the_file_counts_at_once(passwords, passwords_file):
    passwords.identify("alice", b"secret")
    passwords_file.write_text(f"bob:{hashed('other')}:read\n")
    assert passwords.known("alice", b"secret") is None
    with pytest.raises(NotSignedIn):
        passwords.identify("alice", b"secret")
    assert passwords.identify("bob", b"other").scopes == {"read"}


def test_a_password_that_is_changed_is_not_remembered(passwords, passwords_file):
    passwords.identify("alice", b"secret")
    passwords_file.write_text(f"alice:{hashed('another')}\n")
    assert passwords.known("alice", b"secret") is None


def test_permissions_that_change_count_for_who_is_remembered(passwords, passwords_file):
    passwords.identify("alice", b"secret")
    line = passwords_file.read_text().splitlines()[0]
    passwords_file.write_text(line + ":read\n")
    known = passwords.known("alice", b"secret")
    assert known is None or known.scopes == {"read"}
    assert passwords.identify("alice", b"secret").scopes == {"read"}


def test_a_file_that_breaks_leaves_what_it_said(passwords, passwords_file, caplog):
    passwords_file.write_text("alice:plain text password\n")
    assert passwords.identify("alice", b"secret").name == "alice"
    assert "line 1" in caplog.text
    assert "plain text" not in caplog.text
    passwords_file.unlink()
    assert passwords.identify("alice", b"secret").name == "alice"


def test_a_file_that_is_replaced_by_another_of_the_same_size_is_read(passwords, passwords_file):
    lines = passwords_file.read_text()
    other = passwords_file.with_name("other")
    other.write_text(lines.replace("alice", "carol"))
    other.replace(passwords_file)
    assert passwords.identify("carol", b"secret").name == "carol"


@pytest.mark.parametrize("letter", ["a", "b", "y"])
def test_hashes_of_every_writer_are_read(letter):
    text = f"# people\n\nalice:{hashed('secret').replace('$2b$', f'${"2" + letter}$')}\r\n"
    assert users_of(text)["alice"].hashed.startswith(b"$2b$04$")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("alice", "bcrypt"),
        ("alice:secret", "bcrypt"),
        ("alice:$apr1$x$yyyyyyyyyyyyyyyyyyyyyy", "bcrypt"),
        ("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "bcrypt"),
        ("alice:$2b$31$" + "." * 53, "bcrypt"),
        (":" + "$2b$04$" + "." * 53, "a name"),
        ("x" * 129 + ":$2b$04$" + "." * 53, "a name"),
        ("alice:$2b$04$" + "." * 53 + ":read write", "none of"),
        ("a:$2b$04$" + "." * 53 + "\na:$2b$04$" + "." * 53, "line 2"),
    ],
)
def test_lines_that_are_none_are_named_by_their_number(text, told):
    with pytest.raises(BadLine, match=told) as refusal:
        users_of(text)
    assert "line " in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_scopes_are_parted_by_spaces_or_commas():
    users = users_of(f"a:{'$2b$04$' + '.' * 53}:read,store render")
    assert users["a"].identity.scopes == {"read", "store", "render"}


def test_umlauts_are_taken(tmp_path):
    path = tmp_path / "passwords"
    path.write_text(line_for("jörg", "pässwörd") + "\n", encoding="utf-8")
    assert Passwords(path).identify("jörg", "pässwörd".encode()).name == "jörg"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("", "x"),
        ("a:b", "x"),
        ("#a", "x"),
        (" a", "x"),
        ("a\n", "x"),
        ("a", ""),
        ("a", "x" * 73),
        ("a", "\0"),
    ],
)
def test_no_line_is_made_of_what_could_not_sign_in(name, password):
    with pytest.raises(BadLine):
        line_for(name, password)


def test_the_command_makes_a_line_of_what_comes_in():
    made = subprocess.run(
        [sys.executable, "-m", "service", "password", "alice"],
        input="a good password\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    user = users_of(made.stdout)["alice"]
    assert bcrypt.checkpw(b"a good password", user.hashed)
    assert "a good password" not in made.stdout + made.stderr


def test_the_command_refuses_what_is_no_password():
    for given in ("", "\n", "x" * 100):
        made = subprocess.run(
            [sys.executable, "-m", "service", "password", "alice"],
            input=given,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=60,
            check=False,
        )
        assert (made.returncode, made.stdout) == (1, "")
        assert "72 bytes" in made.stderr
