"""Signing in on the page at a real OpenID provider, and what is done there afterwards."""

import zipfile
from pathlib import Path

from tests.browsing import Tab
from tests.e2e.signin.conftest import OVER_S, SOON_S, Site, sign_in
from tests.making import a_ct, new_uid

ACTIONS = "[...document.querySelectorAll('.study > .actions > *')].map((one) => one.innerText.trim())"
# Refusals that a browser notes, and that are part of what is tried.
UNKNOWN = "status of 401"
DIALOG = "document.querySelector('dialog[open]')"


def pictures_shown(tab: Tab) -> None:
    """Wait until every small picture is there."""
    tab.wait_for(
        "document.images.length > 1 && [...document.images].every((one) => one.complete && one.naturalWidth)"
    )


def go_to_and_fro(tab: Tab, study: str, until: str) -> None:
    """Go from the list to a study and back, each time that all is there, until something is true."""
    tab.run("performance.setResourceTimingBufferSize(100000)")
    tab.wait_for(
        f"({until}) || (document.querySelector('[aria-busy], .waiting') === null &&"
        f" (location.hash = location.hash === '#/' ? '#/studies/{study}' : '#/', false))"
    )


def test_somebody_signs_in_and_is_where_they_wanted_to_be(site: Site):
    study = new_uid()
    site.store(a_ct(StudyInstanceUID=study, PatientName="Sign^In"))

    tab = site.signed_in(f"#/studies/{study}")
    tab.wait_for("document.querySelector('.card')")

    assert tab.run("location.href") == f"{site.address}#/studies/{study}"
    assert "Sign, In" in tab.text("#main")
    assert "Dr. Ada Doctor" in tab.text("#nav")
    assert site.wrong() == []


def test_pictures_come_with_the_token(site: Site):
    study, series = new_uid(), new_uid()
    site.store(a_ct(StudyInstanceUID=study, SeriesInstanceUID=series))
    tab = site.signed_in(f"#/studies/{study}")

    pictures_shown(tab)
    tab.go(f"{site.address}#/studies/{study}/series/{series}")
    tab.wait_for("document.querySelector('canvas.viewport') && document.querySelector('.over').hidden")

    assert site.wrong() == []


def test_a_token_is_in_memory_only(site: Site):
    tab = site.signed_in()

    kept = tab.run(
        "JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie, location.search])"
    )

    assert kept == '[{},{},"",""]'


def test_somebody_uploads_and_deletes(site: Site, tmp_path: Path):
    study = new_uid()
    (tmp_path / "image.dcm").write_bytes(a_ct(StudyInstanceUID=study))
    tab = site.signed_in()
    tab.wait_for(
        "document.querySelector('.results').hasChildNodes() && !document.querySelector('[aria-busy]')"
    )

    tab.drop([tmp_path / "image.dcm"])
    tab.wait_for("document.querySelector('dialog')?.innerText.includes('1 file stored')")
    tab.press("Enter")
    tab.go(f"{site.address}#/studies/{study}")
    tab.click(".actions .danger")
    tab.click("dialog .danger")
    tab.wait_for("document.body.innerText.includes('The study is deleted')")

    assert site.wrong() == []


def test_a_token_is_renewed_without_a_word(site: Site):
    study = new_uid()
    site.store(a_ct(StudyInstanceUID=study))
    site.issuer.set(ends_in_s=SOON_S)
    tab = site.signed_in()
    tokens = repr(f"{site.issuer.address}/token")

    go_to_and_fro(tab, study, f"performance.getEntriesByName({tokens}).length > 1")
    tab.go(f"{site.address}#/studies/{study}")
    tab.wait_for("document.querySelector('.card')")

    assert not tab.run(DIALOG)
    assert site.wrong(UNKNOWN) == []


def test_who_has_to_sign_in_again_does_so_beside_what_they_are_at(site: Site):
    study = new_uid()
    site.store(a_ct(StudyInstanceUID=study))
    site.issuer.set(refreshes=False, ends_in_s=SOON_S)
    tab = site.signed_in()
    tab.run("window.untouched = true")
    go_to_and_fro(tab, study, DIALOG)
    site.issuer.restore()

    tab.click("dialog .primary:enabled")
    beside = site.browser.window_beside(tab)
    site.browser.wait_until_closed(beside)  # the provider still knows who it is
    tab.wait_for(f"!{DIALOG}")
    tab.go(f"{site.address}#/studies/{study}")
    tab.wait_for("document.querySelector('.card')")

    assert tab.run("window.untouched") is True
    assert site.wrong(UNKNOWN) == []


def test_what_the_provider_refuses_is_said_in_its_words(site: Site):
    tab = site.open()

    tab.click("button[name=cancel]")
    tab.wait_for("document.querySelector('.message')")

    assert "You could not be signed in" in tab.text("#main")
    assert "The person said no" in tab.text("#main")
    assert tab.run("location.search") == ""
    assert site.wrong() == []


def test_a_sign_in_that_was_not_begun_here_is_refused(site: Site):
    tab = site.open("?code=stolen&state=guessed#/")

    tab.wait_for("document.querySelector('.message')")

    assert "not begun here" in tab.text("#main")
    assert tab.run("location.search") == ""
    assert site.wrong() == []


def test_a_token_that_the_server_refuses_leads_in_no_circle(site: Site):
    site.issuer.set(ends_in_s=OVER_S)

    tab = site.open()
    sign_in(tab)
    tab.wait_for("document.querySelector('.message')")

    assert "You could not be signed in" in tab.text("#main")
    assert "expired" in tab.text("#main")
    assert site.wrong(UNKNOWN) == []


def test_somebody_signs_out_here_and_at_the_provider(site: Site):
    tab = site.signed_in()
    tab.click("#nav [aria-label='Sign out']")
    tab.wait_for("document.title === 'Sign out'")
    tab.click("button[name=logout]")
    tab.wait_for("document.body.innerText.includes('You are signed out')")

    tab.click("#main .primary")
    tab.wait_for("document.title === 'Sign in'")

    assert site.wrong() == []


def test_what_is_not_permitted_is_not_offered(site: Site, tmp_path: Path):
    study = new_uid()
    site.store(a_ct(StudyInstanceUID=study))
    (tmp_path / "image.dcm").write_bytes(a_ct())
    site.issuer.set(scopes=["read"])

    tab = site.signed_in(f"#/studies/{study}")
    tab.wait_for("document.querySelector('.card')")
    tab.drop([tmp_path / "image.dcm"])
    tab.wait_for("document.querySelector('.notice')")

    assert tab.run(ACTIONS) == ["Download ZIP"]
    assert not tab.run("document.querySelector('.danger, .upload')")
    assert "you may look here, not store" in tab.text(".notice")
    assert site.wrong() == []


def test_who_may_do_nothing_is_told_so(site: Site):
    site.issuer.set(scopes=[])

    tab = site.open()
    sign_in(tab)
    tab.wait_for("document.querySelector('.message')")

    assert "Dr. Ada Doctor is signed in, but has no permission here" in tab.text("#main")
    assert site.wrong() == []


def test_a_study_is_saved_as_a_file(site: Site, tmp_path: Path):
    study = new_uid()
    site.store(a_ct(StudyInstanceUID=study))
    tab = site.signed_in(f"#/studies/{study}")
    tab.wait_for("document.querySelector('.card')")

    name = tab.saved_by(lambda: tab.click(".study > .actions button"), tmp_path)

    assert len([one for one in zipfile.ZipFile(name).namelist() if one.endswith(".dcm")]) == 1
    assert site.wrong() == []
