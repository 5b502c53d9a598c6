"""Peers on the page, by the bridge's HTTP interface: echo, send, query and retrieve.

The peer is the bridge itself, called as a PACS would be.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import Program, free_port
from tests.e2e.page.conftest import Page
from tests.making import a_ct

PEERS = """
[peers.ITSELF]
ae_title = "ISTHMUS"
host = "127.0.0.1"
port = {port}

[peers.ABSENT]
ae_title = "ABSENT"
host = "127.0.0.1"
port = {nobody}
services = ["echo", "store"]
"""


@pytest.fixture(scope="module")
def bridged(browser, tmp_path_factory) -> Iterator[Page]:
    """The page of a service with a bridge beside it."""
    folder, port = tmp_path_factory.mktemp("bridged"), free_port()
    (folder / "peers.toml").write_text(PEERS.format(port=port, nobody=free_port()))
    program = Program(
        folder, "up", ISTHMUS_PEERS="peers.toml", ISTHMUS_DIMSE_PORT=str(port), ISTHMUS_WORKERS="1"
    )
    try:
        yield Page(program.wait_ready(), browser)
    finally:
        program.close()


@pytest.fixture
def opened(bridged) -> Iterator[Callable[[str], object]]:
    """Opens tabs, which complain of nothing but answers that were no success."""
    yield bridged.open
    complaints = [text for tab in bridged.tabs for text in tab.complaints]
    for tab in bridged.tabs:
        tab.close()
    bridged.tabs.clear()
    assert [text for text in complaints if "Failed to load resource" not in text] == []


def test_peers_are_asked_whether_they_answer(opened):
    tab = opened("#/peers")
    tab.wait_for("document.querySelectorAll('.peer').length === 2")

    tab.click(".peer button", place=0)
    tab.wait_for("document.querySelector('.state.good')")
    tab.click(".peer button", place=1)
    tab.wait_for("document.querySelectorAll('.peer')[1].querySelector('.state.trouble')")

    assert "It answers." in tab.text(".peer")


def test_a_study_is_sent_to_a_peer(bridged, opened):
    (path,) = bridged.store(a_ct(PatientName="Sent^S"))
    tab = opened("#/" + "/".join(path.split("/")[1:3]))
    tab.wait_for("document.querySelector('.study > .actions')")

    tab.run(
        "[...document.querySelectorAll('.study > .actions button')]"
        ".find((one) => /Send/.test(one.textContent)).click()"
    )
    tab.click(".choice")
    tab.wait_for("/^(Done|Failed)/.test(document.querySelector('dialog .line')?.textContent ?? '')")

    assert tab.text("dialog .line") == "Done: 1 image through."


def test_a_peer_is_queried_and_a_study_retrieved(bridged, opened):
    bridged.store(a_ct(PatientName="Retrieved^R", PatientID="R1"))
    tab = opened("#/peers/ITSELF")
    tab.click(".query input")
    tab.type("Retrieved")
    tab.press("Enter")
    tab.wait_for("document.querySelector('.results tbody tr, .results .message')")
    assert "Retrieved, R" in tab.text(".results")

    tab.click(".results tbody button")
    tab.wait_for("/^(Done|Failed)/.test(document.querySelector('dialog .line')?.textContent ?? '')")

    assert tab.text("dialog .line").startswith("Done")
    tab.click("dialog .primary")
    tab.wait_for("document.querySelector('.who h1')?.textContent === 'Retrieved, R'")


def test_an_answer_to_an_earlier_query_is_not_shown(bridged):
    bridged.store(a_ct(PatientName="Earlier^E"), a_ct(PatientName="Later^L"))
    tab = bridged.open_holding("PatientName=Earlier", "#/peers/ITSELF")
    tab.click(".query input")
    tab.type("Earlier")
    tab.press("Enter")
    tab.wait_for("window.held.length === 1")

    tab.run("document.querySelector('.query input').value = ''")
    tab.type("Later")
    tab.press("Enter")
    tab.wait_for("document.querySelector('.results tbody tr')")
    tab.run("release()")
    tab.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    assert "Later, L" in tab.text(".results")
    for one in bridged.tabs:
        one.close()
    bridged.tabs.clear()
    assert tab.complaints == []
