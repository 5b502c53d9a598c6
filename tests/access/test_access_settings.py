"""The settings of sign-in: what goes together, and what is said of what does not."""

import pytest

from bridge.settings import read_settings
from service.access.settings import AccessSettings, read_access
from service.environment import SettingError
from service.settings import Settings

ISSUER = {"ISTHMUS_OIDC_ISSUER": "https://login.example.org", "ISTHMUS_OIDC_AUDIENCE": "isthmus"}


def test_nobody_signs_in_where_nothing_is_said():
    assert read_access({}) == AccessSettings()
    assert not read_access({}).safe_beyond_loopback
    assert read_access({"ISTHMUS_AUTH": "none!"}).safe_beyond_loopback


@pytest.mark.parametrize("told", ["basic", "jwt", "basic,jwt", "jwt basic"])
def test_ways_to_sign_in_are_listed(told, passwords_file):
    environ = {"ISTHMUS_AUTH": told, "ISTHMUS_PASSWORDS_FILE": str(passwords_file), **ISSUER}
    access = read_access(environ)
    assert access.ways == tuple(told.replace(",", " ").split())
    assert access.asked
    assert access.asked_scope == "openid profile"


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"ISTHMUS_AUTH": "basic"}, "ISTHMUS_PASSWORDS_FILE"),
        ({"ISTHMUS_AUTH": "basic", "ISTHMUS_PASSWORDS_FILE": "no such file"}, "ISTHMUS_PASSWORDS_FILE"),
        ({"ISTHMUS_AUTH": "basic", "ISTHMUS_PASSWORDS_FILE": "/"}, "ISTHMUS_PASSWORDS_FILE"),
        ({"ISTHMUS_AUTH": "jwt"}, "ISTHMUS_OIDC_ISSUER"),
        ({"ISTHMUS_AUTH": "jwt", "ISTHMUS_OIDC_ISSUER": "http://a.example.org"}, "ISTHMUS_OIDC_ISSUER"),
        ({"ISTHMUS_AUTH": "jwt", "ISTHMUS_OIDC_ISSUER": "https://a.example.org"}, "ISTHMUS_OIDC_AUDIENCE"),
        ({"ISTHMUS_AUTH": "none,basic"}, "ISTHMUS_AUTH"),
        ({"ISTHMUS_AUTH": "none!,jwt", **ISSUER}, "ISTHMUS_AUTH"),
        ({"ISTHMUS_AUTH": "Basic"}, "ISTHMUS_AUTH"),
        ({"ISTHMUS_AUTH": ","}, "ISTHMUS_AUTH"),
        ({"ISTHMUS_AUTH": "jwt", "ISTHMUS_OIDC_CA": "no such file", **ISSUER}, "ISTHMUS_OIDC_CA"),
        ({"ISTHMUS_AUTH": "jwt", "ISTHMUS_OIDC_SCOPE": "profile", **ISSUER}, "ISTHMUS_OIDC_SCOPE"),
        ({"ISTHMUS_SHARE_KEY_FILE": "key"}, "ISTHMUS_SHARE_KEY_FILE"),
        ({"ISTHMUS_AUTH": "none!", "ISTHMUS_SHARE_KEY_FILE": "key"}, "ISTHMUS_SHARE_KEY_FILE"),
    ],
)
def test_both_programs_name_what_does_not_go(environ, told):
    for read in (Settings.from_environment, read_settings):
        with pytest.raises(SettingError, match=told):
            read(environ)


def test_a_file_that_is_no_good_is_named_with_its_line(tmp_path):
    path = tmp_path / "passwords"
    path.write_text("# people\nalice:secret\n")
    with pytest.raises(SettingError, match=r"ISTHMUS_PASSWORDS_FILE.*line 2") as refused:
        read_access({"ISTHMUS_AUTH": "basic", "ISTHMUS_PASSWORDS_FILE": str(path)})
    assert "secret" not in str(refused.value)
    path.write_text("short\n")
    with pytest.raises(SettingError, match=r"ISTHMUS_SHARE_KEY_FILE.*openssl"):
        read_access({"ISTHMUS_AUTH": "jwt", "ISTHMUS_SHARE_KEY_FILE": str(path), **ISSUER})


def test_whoever_has_people_sign_in_may_listen_anywhere(passwords_file):
    anywhere = {"ISTHMUS_HOST": "0.0.0.0", "ISTHMUS_BRIDGE_HOST": "0.0.0.0"}
    environ = {**anywhere, "ISTHMUS_AUTH": "basic", "ISTHMUS_PASSWORDS_FILE": str(passwords_file)}
    assert Settings.from_environment(environ).host == "0.0.0.0"
    assert read_settings(environ).control.any_host
    for read in (Settings.from_environment, read_settings):
        with pytest.raises(SettingError, match="sign in"):
            read(anywhere)


def test_links_are_to_studies_of_the_archive_only(passwords_file, share_key_file):
    environ = {
        "ISTHMUS_AUTH": "basic",
        "ISTHMUS_PASSWORDS_FILE": str(passwords_file),
        "ISTHMUS_SHARE_KEY_FILE": str(share_key_file),
    }
    assert Settings.from_environment(environ).access.share_key_file == share_key_file
    assert read_settings(environ).control.access.share_key_file is None
