"""The list of studies, a study, and what is done with them, in a browser as people do it."""

import io
import json
import zipfile
from urllib.parse import quote

import pytest

from tests.browsing import Tab
from tests.e2e.page.conftest import Page
from tests.making import a_ct, a_data_set, a_file, new_uid

ROWS = "document.querySelectorAll('tbody tr')"
EVIL = "<img src=x onerror=alert(1)>\"'&</td>^<script>alert(2)</script>"


def names(tab: Tab) -> list[str]:
    """The names in the list as they are shown."""
    found: list[str] = tab.run("[...document.querySelectorAll('a.name')].map((one) => one.textContent)")
    return found


def settled(tab: Tab, count: int) -> None:
    """Wait until the list shows so many studies, and nothing more is asked for."""
    tab.wait_for(f"{ROWS}.length === {count} && !document.querySelector('[aria-busy]')")


def study_of(path: str) -> str:
    return path.split("/")[2]


@pytest.fixture(scope="module")
def many(program, browser) -> None:
    """A hundred and twenty studies of people called Many, of whom one is Zoë."""
    page = Page(program, browser)
    people = [f"Many^P{number:03d}" for number in range(119)] + ["Zo\u00eb^Many"]
    page.store_together(
        [
            a_file(a_data_set(PatientName=name, PatientID=f"M{place:03d}", SpecificCharacterSet="ISO_IR 192"))
            for place, name in enumerate(people)
        ]
    )


def test_an_empty_archive_says_what_to_do(empty_page):
    tab = empty_page.open()

    tab.wait_for("document.querySelector('.message')")

    assert "No studies yet" in tab.text("#main")


def test_the_list_is_searched_as_one_types(page, many):
    tab = page.open()
    settled(tab, 50)

    tab.press("/")
    tab.type("zoe many")
    settled(tab, 1)

    assert names(tab) == ["Zoë, Many"]
    assert tab.run("location.hash") == "#/?name=zoe+many"
    assert "1 study" in tab.text(".count")


def test_a_name_is_found_as_it_is_shown(page, many):
    tab = page.open("#/nowhere")

    tab.go(f"{page.address}#/?name={quote('Zoë, Many')}")
    settled(tab, 1)

    assert names(tab) == ["Zoë, Many"]


def test_pages_follow_one_another(page, many):
    tab = page.open("#/?name=many")
    settled(tab, 50)
    first = names(tab)

    tab.press("]")
    tab.wait_for("document.querySelector('.count').textContent.startsWith('51–100 of 120')")
    second = names(tab)
    tab.press("]")
    settled(tab, 20)

    assert len({*first, *second, *names(tab)}) == 120
    assert tab.run("document.querySelector('.following').disabled")


def test_filters_narrow_the_list_together(page, many):
    page.store(a_ct(PatientName="Many^Filter", PatientID="F7", ModalitiesInStudy="", Modality="MR"))
    tab = page.open("#/?name=many&modality=MR")

    settled(tab, 1)

    assert names(tab) == ["Many, Filter"]


def test_a_search_without_matches_leads_back(page, many):
    tab = page.open("#/?id=nobody")
    tab.wait_for("document.querySelector('.message')")

    tab.click(".message button")
    settled(tab, 50)

    assert tab.run("location.hash") == "#/"


def test_columns_order_the_list(page, many):
    tab = page.open("#/?name=many")
    settled(tab, 50)

    tab.click(".sort")
    tab.wait_for("document.querySelector('[aria-sort=ascending]') && !document.querySelector('[aria-busy]')")

    assert names(tab)[:2] in (["Many, Filter", "Many, P000"], ["Many, P000", "Many, P001"])


def test_everything_is_done_by_keys(page):
    study = new_uid()
    page.store(
        *(a_ct(study=study, series="1.2.7", PatientName="Keys^K", InstanceNumber=n) for n in (1, 2, 3))
    )
    tab = page.open("#/?name=keys")
    settled(tab, 1)

    tab.press("ArrowDown")
    tab.press("Enter")
    tab.wait_for("document.querySelector('.card a.open')")
    tab.run("document.querySelector('.card a.open').focus()")
    tab.press("Enter")
    tab.wait_for("document.querySelector('.position')?.textContent === '1 / 3'")
    tab.press("End")
    tab.wait_for("document.querySelector('.position').textContent === '3 / 3'")
    tab.press("Escape")
    tab.wait_for("document.querySelector('.card')")

    assert tab.run("location.hash") == f"#/studies/{study}"


def test_names_are_text_whatever_is_in_them(page):
    (path,) = page.store(
        a_ct(PatientName=EVIL, PatientID="<b>x</b>", StudyDescription=EVIL[:60], SeriesDescription=EVIL[:60])
    )
    study = study_of(path)
    series = path.split("/")[4]

    tab = page.open("#/nowhere")
    for place, there in (
        (f"#/?id={quote('<b>x</b>', safe='')}", "tbody tr"),
        (f"#/studies/{study}", ".card"),
        (f"#/studies/{study}/series/{series}", ".sw div"),
    ):
        tab.go(page.address + place)
        tab.wait_for(f"document.querySelector('{there}')")
        if "series" in place:
            tab.press("m")
            tab.wait_for("document.querySelectorAll('.attributes tr').length > 10")
        assert "<script>alert(2)</script>" in tab.run("document.body.textContent")
        assert tab.run("document.querySelector('#main script, #main img[onerror], #main td b')") is None


def test_dropped_files_are_stored_and_refusals_told(page, tmp_path):
    study = new_uid()
    good, bad = tmp_path / "good.dcm", tmp_path / "holiday.jpg"
    good.write_bytes(a_ct(study=study, PatientName="Dropped^D"))
    bad.write_bytes(b"\xff\xd8 no DICOM at all" * 100)
    tab = page.open("#/?name=dropped")
    tab.wait_for("document.querySelector('.results .message')")

    tab.drop([good, bad])
    tab.wait_for("document.querySelector('dialog .primary')")

    assert "1 file stored. 1 file refused." in tab.text("dialog .line")
    refusals = tab.text(".refusals")
    assert "holiday.jpg" in refusals
    assert "This is no DICOM file, or a damaged one." in refusals
    tab.click("dialog .primary")
    settled(tab, 1)
    assert names(tab) == ["Dropped, D"]
    assert page.get(f"/studies/{study}/metadata").status_code == 200
    page.expected.append("409 (Conflict)")


def test_a_dropped_folder_is_stored_with_all_that_is_in_it(page, tmp_path):
    top, study = tmp_path / "disc", new_uid()
    for number in range(130):  # browsers tell of a hundred at a time
        inside = top / "DICOM" / f"{number % 3}"
        inside.mkdir(parents=True, exist_ok=True)
        (inside / f"I{number:04}").write_bytes(a_ct(study=study, PatientName="Folder^F"))
    (top / "lost").symlink_to(tmp_path / "nothing")
    tab = page.open("#/?name=folder")
    tab.wait_for("document.querySelector('.results .message')")

    tab.drop([top])
    tab.wait_for("document.querySelector('dialog .primary')")

    assert tab.text("dialog .line").startswith("130 files stored.")
    found = page.get(f"/studies?StudyInstanceUID={study}").json()
    assert found[0]["00201208"]["Value"] == [130]


def test_a_study_is_deleted_only_when_that_is_confirmed(page):
    (path,) = page.store(a_ct(PatientName="Deleted^D"))
    place = f"/studies/{study_of(path)}"
    tab = page.open(f"#{place}")

    tab.click(".study > .actions .danger")
    tab.wait_for("document.querySelector('dialog[open]')")
    assert "Deleted, D" in tab.text("dialog .subject")
    tab.press("Escape")
    tab.wait_for("!document.querySelector('dialog')")
    assert page.get(f"{place}/metadata").status_code == 200
    tab.click(".study > .actions .danger")
    tab.click("dialog .danger")
    tab.wait_for("location.hash === '#/'")

    assert page.get(f"{place}/metadata").status_code == 404


@pytest.mark.parametrize("well", [True, False], ids=["deleted", "not deleted"])
def test_what_became_of_a_deletion_is_told_to_who_went_on_meanwhile(page, well):
    path, other = page.store(a_ct(PatientName="Slow^D"), a_ct(PatientName="Other^D"))
    tab = page.open_holding(f"/studies/{study_of(path)}$", f"#/studies/{study_of(path)}")
    tab.click(".study > .actions .danger")
    tab.click("dialog .danger")
    tab.wait_for("window.held.length === 1")

    tab.go(f"{page.address}#/studies/{study_of(other)}")
    tab.wait_for("document.querySelector('.who h1')?.textContent === 'Other, D'")
    if not well:
        page.delete(f"/studies/{study_of(path)}")
    tab.run("release()")
    tab.wait_for("document.querySelector('.notice')")

    assert ("The study is deleted" if well else "The study was not deleted") in tab.text(".notice")
    assert tab.text(".who h1") == "Other, D"
    page.expected.append("404")


def test_leaving_a_study_leads_back_to_the_search(page, many):
    tab = page.open("#/?name=many&sort=PatientID")
    settled(tab, 50)
    tab.press("]")
    tab.wait_for("location.hash.includes('offset=50')")
    tab.wait_for("!document.querySelector('[aria-busy]')")

    tab.click("a.name")
    tab.click("a.up")
    tab.wait_for("document.querySelector('.count')?.textContent.startsWith('51–100')")

    assert tab.run("location.hash") == "#/?name=many&sort=PatientID&offset=50"


def test_an_upload_ends_by_its_own_button_only(page, tmp_path):
    file = tmp_path / "slow.dcm"
    file.write_bytes(a_ct(PatientName="Slow^Upload"))
    tab = page.open_holding("/studies$", "#/?name=slow+upload")
    tab.wait_for("document.querySelector('.results .message')")
    tab.drop([file])
    tab.wait_for("window.held.length === 1")

    for _ in range(2):
        tab.press("Escape")
    for kind in ("mousePressed", "mouseReleased"):
        tab.mouse(kind, 5, 300)
    tab.run("release()")
    tab.wait_for("document.querySelector('dialog .primary')")

    assert tab.text("dialog .line") == "1 file stored."


def test_a_sign_in_page_instead_of_an_answer_is_told_in_words(page):
    tab = page.open()
    tab.run("void (window.fetch = async () => new Response('<html>Sign in</html>', {status: 200}))")

    tab.press("/")
    tab.type("anybody")
    tab.wait_for(
        "document.querySelector('.results .message h2')?.textContent.includes('could not be listed')"
    )

    assert "sign in again" in tab.text(".results .message")


def test_all_series_of_a_study_can_be_reached(page):
    study = new_uid()
    files = [a_file(a_data_set(study=study, PatientName="Series^S", SeriesNumber=n)) for n in range(1, 206)]
    page.store_together(files)
    last = page.get(f"/studies/{study}/series?limit=1&offset=204").json()[0]["0020000E"]["Value"][0]
    tab = page.open(f"#/studies/{study}")
    tab.wait_for("document.querySelectorAll('.card').length === 120")

    tab.click(".following button")
    tab.wait_for("document.querySelectorAll('.card').length === 205")
    assert tab.run("document.querySelector('.following')") is None
    tab.go(f"{page.address}#/studies/{study}/series/{last}")
    tab.wait_for("document.querySelector('.viewer .title strong')")

    assert tab.text(".viewer .title strong") == "Series, S"


def test_a_study_comes_as_zip(page, tmp_path):
    study = new_uid()
    files = [a_ct(study=study, series="1.2.8", PatientName="Zipped^Z") for _ in range(3)]
    paths = page.store(*files)
    tab = page.open(f"#/studies/{study}")
    tab.wait_for("document.querySelector('.actions a[download]')")

    held = tab.run(
        "fetch(document.querySelector('.actions a[download]').href).then((answer) => answer.arrayBuffer())"
        ".then((all) => [...new Uint8Array(all)])"
    )

    with zipfile.ZipFile(io.BytesIO(bytes(held))) as unpacked:
        assert unpacked.testzip() is None
        assert unpacked.namelist()[0] == "README.txt"
        expected = {f"1.2.8/{path.split('/')[6]}.dcm": file for path, file in zip(paths, files, strict=True)}
        assert {name: unpacked.read(name) for name in unpacked.namelist()[1:]} == expected


def test_a_study_opens_in_ohif(page_elsewhere):
    page = page_elsewhere
    (path,) = page.store(a_ct())
    tab = page.open(f"#/studies/{study_of(path)}")

    tab.wait_for("document.querySelector('.study .actions')")

    links = tab.run("[...document.querySelectorAll('.study > .actions a')].map((one) => one.href)")
    assert f"https://viewer.example.org/ohif/viewer?StudyInstanceUIDs={study_of(path)}" in links


def test_a_server_that_fails_is_told_with_a_way_on(page, many):
    tab = page.open()
    settled(tab, 50)
    tab.call(
        "Network.emulateNetworkConditions",
        offline=True,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )

    tab.press("]")
    tab.wait_for("document.querySelector('.message')")
    assert "The server cannot be reached" in tab.text(".message")
    tab.call(
        "Network.emulateNetworkConditions",
        offline=False,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )
    tab.click(".message button")
    settled(tab, 50)

    page.expected.append("ERR_INTERNET_DISCONNECTED")


def test_nothing_is_wider_than_the_screen(page, many):
    (path,) = page.store(a_ct(PatientName="Wide^" + "W" * 50, StudyDescription="long " * 12))
    study, series = path.split("/")[2], path.split("/")[4]
    tab = page.open("#/nowhere")
    for place, there in (
        ("#/", "tbody tr"),
        (f"#/studies/{study}", ".card"),
        (f"#/studies/{study}/series/{series}", ".sw div"),
    ):
        tab.go(page.address + place)
        tab.wait_for(f"document.querySelector('{there}')")
        for width in (390, 900, 1600):
            tab.resize(width, 800)
            tab.wait_for(f"innerWidth === {width}")
            assert tab.run("document.documentElement.scrollWidth") <= width, (place, width)


def test_attributes_are_searched(page):
    (path,) = page.store(a_ct(StationName="SCANNER 9", PatientName="Attributes^A"))
    tab = page.open("#" + path)
    tab.wait_for("document.querySelector('.sw div')")

    tab.press("m")
    tab.wait_for("document.querySelectorAll('.attributes tr').length > 10")
    tab.type("station scanner")

    tab.wait_for("document.querySelectorAll('.attributes tr').length === 1")
    assert "Station Name\nSCANNER 9" in tab.text(".attributes")


def test_the_configuration_says_where_things_are(page):
    told = json.loads(page.get("/../config.json").content)

    places = {"dicomweb": "dicom-web", "bridge": None, "ohif": None}
    assert told == {**places, "deletes": True, "shares": False, "auth": {"kind": "none"}}
