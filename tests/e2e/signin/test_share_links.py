"""Links to one study, made on the page and opened by somebody who cannot sign in."""

import zipfile
from pathlib import Path

from tests.browsing import Tab
from tests.e2e.signin.conftest import Site
from tests.making import a_ct, new_uid

FIELD = "document.querySelector('input.link')"
UNKNOWN = "status of 401"


def link_to(site: Site, study: str) -> str:
    """A link, made on the page by somebody who has signed in."""
    tab = site.signed_in(f"#/studies/{study}")
    tab.wait_for("document.querySelector('.card')")
    tab.run("[...document.querySelectorAll('button')].find((one) => one.innerText === 'Share…').click()")
    tab.click("dialog .primary")
    tab.wait_for(FIELD)
    assert "Good until" in tab.text("dialog .line")
    return str(tab.run(f"{FIELD}.value"))


def opened(site: Site, link: str) -> Tab:
    """What somebody else sees who opens the link."""
    return site.open(link.removeprefix(site.address))


def test_a_link_shows_one_study_to_whoever_has_it(site: Site):
    study, series, other = new_uid(), new_uid(), new_uid()
    site.store(
        a_ct(StudyInstanceUID=study, SeriesInstanceUID=series, PatientName="Shared^One"),
        a_ct(StudyInstanceUID=other, PatientName="Kept^Apart"),
    )
    link = link_to(site, study)

    tab = opened(site, link)
    tab.wait_for("document.querySelector('.card') && [...document.images].every((one) => one.naturalWidth)")

    assert "Shared, One" in tab.text("#main")
    assert "Shared with you until" in tab.text(".shared")
    assert not tab.run("document.querySelector('.danger, .upload, .up, #nav [aria-label=\"Sign out\"]')")
    tab.go(f"{link}#/studies/{other}")
    tab.wait_for(f"location.hash === '#/studies/{study}'")
    tab.go(f"{link}#/studies/{study}/series/{series}")
    tab.wait_for("document.querySelector('canvas.viewport') && document.querySelector('.over').hidden")
    assert site.wrong() == []


def test_what_was_shared_is_saved_as_a_file(site: Site, tmp_path: Path):
    study = new_uid()
    site.store(a_ct(StudyInstanceUID=study))
    tab = opened(site, link_to(site, study))
    tab.wait_for("document.querySelector('.card')")

    name = tab.saved_by(lambda: tab.click(".study > .actions button"), tmp_path)

    assert len([one for one in zipfile.ZipFile(name).namelist() if one.endswith(".dcm")]) == 1
    assert site.wrong() == []


def test_a_link_that_is_no_good_says_so(site: Site):
    tab = site.open("?share=nonsense")

    tab.wait_for("document.querySelector('.message')")

    assert "This link opens nothing" in tab.text("#main")
    assert site.wrong(UNKNOWN) == []


def test_who_may_not_share_is_not_asked(site: Site):
    study = new_uid()
    site.store(a_ct(StudyInstanceUID=study))
    site.issuer.set(scopes=["read", "store", "delete"])

    tab = site.signed_in(f"#/studies/{study}")
    tab.wait_for("document.querySelector('.card')")

    assert "Share" not in tab.text(".study > .actions")
    assert site.wrong() == []
