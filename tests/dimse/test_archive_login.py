"""How the bridge signs in to its archive: by a file, which may change, or by what it was started with."""

import base64

import pytest

from bridge.archive.login import Login


def test_a_token_is_a_bearer_token(tmp_path):
    path = tmp_path / "token"
    path.write_text("  eyJ0.eyJ1\n.c2ln\n")
    assert Login(path).header() == "Bearer eyJ0.eyJ1.c2ln"


def test_a_name_with_a_password_is_sent_as_such(tmp_path):
    path = tmp_path / "login"
    path.write_text("bridge:a pass:wörd\n", encoding="utf-8")
    told = "bridge:a pass:wörd".encode()
    assert Login(path).header() == "Basic " + base64.b64encode(told).decode()


def test_what_changes_counts_at_once_and_what_breaks_does_not(tmp_path):
    path = tmp_path / "token"
    path.write_text("first")
    login = Login(path)
    assert login.header() == "Bearer first"
    path.write_text("name:password")
    assert login.header().startswith("Basic ")
    path.write_bytes(b"\xff\xfe\x00")
    assert login.header().startswith("Basic ")
    path.unlink()
    assert login.header().startswith("Basic ")
    path.write_text("")
    assert login.header() == ""


@pytest.mark.parametrize("content", [b"a\x00b", b"a\x7fb", "ä".encode()])
def test_nothing_that_is_no_token_gets_into_a_header(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    assert Login(path).header() == ""


def test_a_file_comes_before_what_the_bridge_was_started_with(tmp_path):
    path = tmp_path / "token"
    path.write_text("of-the-file")
    assert Login(path, "of-the-start").header() == "Bearer of-the-file"
    assert Login(None, "of-the-start").header() == "Bearer of-the-start"
    assert Login(None).header() == ""
