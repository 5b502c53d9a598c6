"""Names and passwords on the page: the browser asks for them itself, for the service and for the bridge."""

from collections.abc import Callable
from pathlib import Path

import bcrypt

from tests.browsing import Browser
from tests.e2e.conftest import Program
from tests.making import a_ct

NAME, PASSWORD = "reader", "secret"


def test_the_browser_asks_once_for_each_of_service_and_bridge(start: Callable[..., Program], tmp_path: Path):
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "passwords").write_text(f"{NAME}:{hashed}:read store\n")
    (tmp_path / "peers.toml").write_text(
        '[peers.PACS]\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 11199\n'
    )
    (tmp_path / "image.dcm").write_bytes(a_ct(PatientName="Basic^Ally"))
    program = start(
        ISTHMUS_AUTH="basic",
        ISTHMUS_WORKERS="1",
        ISTHMUS_PASSWORDS_FILE=str(tmp_path / "passwords"),
        ISTHMUS_PEERS=str(tmp_path / "peers.toml"),
    ).wait_ready()
    page, bridge = (f"http://127.0.0.1:{port}/" for port in (program.port, program.bridge_port))
    with Browser.start() as browser:
        tab = browser.open()
        tab.answer_passwords(NAME, PASSWORD)
        tab.go(page)
        tab.wait_for("document.querySelector('.message')")

        tab.drop([tmp_path / "image.dcm"])
        tab.wait_for("document.querySelector('dialog')?.innerText.includes('1 file stored')")
        tab.press("Enter")
        tab.wait_for("document.querySelector('tbody img')?.naturalWidth")
        tab.go(f"{page}#/peers")
        tab.wait_for("document.querySelector('.peer')")

        assert tab.asked == [f"{page}identity.json", f"{bridge}peers"]
        assert tab.complaints == []


def test_who_gives_no_password_is_told_to(start: Callable[..., Program], tmp_path: Path):
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "passwords").write_text(f"{NAME}:{hashed}\n")
    program = start(
        "serve",
        ISTHMUS_AUTH="basic",
        ISTHMUS_WORKERS="1",
        ISTHMUS_PASSWORDS_FILE=str(tmp_path / "passwords"),
    ).wait_ready()
    with Browser.start() as browser:
        tab = browser.open()
        tab.cancel_passwords()

        tab.go(f"http://127.0.0.1:{program.port}/")
        tab.wait_for("document.querySelector('.message')")

        assert "You have to sign in" in tab.text("#main")
