"""How long it takes to look at a secret tells nothing of it: counted, since clocks say little in a test."""

import ast
import re
from base64 import b64encode
from pathlib import Path

import bcrypt
import pytest

import service.access
from service.access.credentials import Bearer, Named
from service.access.door import Door
from service.access.refusals import NotSignedIn
from service.access.settings import AccessSettings
from tests.access.conftest import KEY, hashed

FOLDER = Path(service.access.__file__).parent
SECRET = re.compile(r"token|password|secret|companion|digest|hashed|signature")  # constants are in capitals
# What somebody types at a prompt of their own, twice.
TYPED = "getpass.getpass('Again: ') != password"
CALLERS = [
    ("alice", b"wrong"),
    ("alice", b""),
    ("nobody", b"secret"),
    ("", b"x"),
    ("alice", b"x" * 3000),
    ("al\0", b"\0"),
]


def compared(source: str) -> list[str]:
    """The comparisons of a module for being equal, or less, that have a secret on either side."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(
            not isinstance(op, ast.Is | ast.IsNot | ast.In | ast.NotIn) for op in node.ops
        ):
            sides = [node.left, *node.comparators]
            named = [side for side in sides if isinstance(side, ast.Name | ast.Attribute)]
            if any(SECRET.search(ast.unparse(side).rpartition(".")[2]) for side in named):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("module", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_no_secret_is_compared_byte_by_byte(module):
    assert compared(module.read_text(encoding="utf-8")) in ([], [TYPED])


def test_the_look_out_sees_a_secret_that_is_compared():
    assert compared("if told.token == self._companion: pass")
    assert not compared("if hmac.compare_digest(told.token, self._companion): pass")


@pytest.mark.parametrize(("name", "password"), CALLERS)
def test_every_wrong_password_takes_one_hash_of_the_same_cost(tmp_path, monkeypatch, name, password):
    path = tmp_path / "passwords"
    path.write_text(f"alice:{hashed('secret')}\n")
    door = Door(AccessSettings(ways=("basic",), passwords_file=path))
    costs = []
    check = bcrypt.checkpw

    def counting(told: bytes, against: bytes) -> bool:
        costs.append(against[4:6])
        return check(told, against)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    with pytest.raises(NotSignedIn) as refused:
        door.identify(Named(name, password))

    assert costs == [b"04"]
    assert "alice" not in str(refused.value)


@pytest.mark.parametrize("token", ["", "x", "A" * 43, KEY, KEY[:-1], "a.b.c", "é"])
def test_tokens_that_are_none_are_refused_alike(tmp_path, token):
    path = tmp_path / "share.key"
    path.write_text(KEY + "\n")
    door = Door(AccessSettings(ways=("basic",), share_key_file=path, companion="c" * 43))
    told = Bearer(token) if token.isascii() else Bearer(b64encode(token.encode()).decode())

    assert door.known(told) is None
    with pytest.raises(NotSignedIn):
        door.identify(told)
