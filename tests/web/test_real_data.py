"""Every real file in by STOW-RS and out again, each compared with what it was."""

from collections import defaultdict
from pathlib import Path

import pytest

from tests.comparing import what_is_wrong
from tests.reading import data_set, parts_of
from tests.sites import Site

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about the files

# Refused for good reason, whatever the manifest says.
BETTER_VERDICTS = {
    "encapsulation/jpeg2000-multiframe-multifragments.dcm": "UIDs of 67 characters (PS3.5 9.1)",
    "malformed/bad_sequence.dcm": "UIDs of hexadecimal digits, which no URL can name (PS3.5 9.1)",
}


@pytest.fixture
def filled(open_site, real_data, manifest):
    """Pairs of a site and a manifest row: files that share a SOP Instance UID go to different sites."""
    sites: list[Site] = []
    taken: dict[int, set[str]] = defaultdict(set)
    stored: list[tuple[Site, dict[str, str]]] = []
    for row in manifest:
        if row["path"].startswith("malformed/") or row["has_all_uids"] != "yes":
            continue
        if row["path"] in BETTER_VERDICTS:
            continue
        uid = row["sop_instance_uid"]
        number = next(n for n in range(len(sites) + 1) if uid not in taken[n])
        if number == len(sites):
            sites.append(open_site())
        taken[number].add(uid)
        stored.append((sites[number], row))
    return stored


def test_every_real_file_goes_in_is_found_and_comes_out_as_it_was(filled, real_data):
    problems: list[str] = []
    studies = defaultdict(set)
    sites = {id(site): site for site, _ in filled}
    for site, row in filled:
        content = (real_data / row["path"]).read_bytes()
        response = site.post(content)
        if response.status_code not in (200, 202):
            problems.append(f"{row['path']}: STOW {response.status_code} {response.text[:200]}")
            continue
        (stored,) = response.json()["00081199"]["Value"]
        url = stored["00081190"]["Value"][0]
        studies[id(site)].add(response.json()["00081190"]["Value"][0])
        problems += [f"{row['path']}: {text}" for text in what_is_wrong(site, url, content, row)]
    for name, site in sites.items():
        found = {one["00081190"]["Value"][0] for one in site.get("/studies?limit=5000").json()}
        problems += [f"{url} is not found" for url in studies[name] - found]
    assert not problems, "\n".join(problems)
    assert len(filled) > 400


def test_the_verdict_on_every_malformed_file_is_that_of_the_manifest(open_site, real_data, manifest):
    problems: list[str] = []
    for row in manifest:
        if not row["path"].startswith("malformed/"):
            continue
        site = open_site()
        response = site.post((real_data / row["path"]).read_bytes())
        verdict = "REJECT" if row["path"] in BETTER_VERDICTS else row["expected_verdict"]
        accepted = response.status_code in (200, 202)
        if response.status_code >= 500:
            problems.append(f"{row['path']}: {response.status_code}")
        elif verdict in ("ACCEPT", "ACCEPT_WARN") and not accepted:
            problems.append(f"{row['path']}: refused, should be {verdict}: {response.text[:300]}")
        elif verdict == "REJECT" and accepted:
            problems.append(f"{row['path']}: accepted, should be {verdict}")
        if accepted:
            problems += [f"{row['path']}: {text}" for text in unreadable(site, response)]
    assert not problems, "\n".join(problems)


def unreadable(site, response) -> list[str]:
    """What of a tolerated object cannot be got back without a server error."""
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    wrong = []
    for path, accept in (
        ("", "application/dicom; transfer-syntax=*"),
        ("/metadata", "application/dicom+json"),
        ("/frames/1", "*/*"),
        ("/frames/2", "*/*"),
        ("/bulkdata/7FE00010", "*/*"),
    ):
        answer = site.get(url + path, accept)
        if answer.status_code >= 500 or (path in ("", "/metadata") and answer.status_code != 200):
            wrong.append(f"GET {path} {answer.status_code} {answer.text[:200]}")
    return wrong


def test_parts_of_a_series_are_the_objects_in_order(site, real_data):
    folder = real_data / "studies" / "seg-ct3"
    files = [folder / "01.dcm", folder / "02.dcm", folder / "03.dcm"]
    site.post_parts(*(file.read_bytes() for file in files))
    (series,) = site.get("/series").json()
    response = site.get(
        series["00081190"]["Value"][0], 'multipart/related; type="application/dicom"; transfer-syntax=*'
    )
    instances = [data_set(part.content).SOPInstanceUID for part in parts_of(response)]
    assert instances == [data_set(file.read_bytes()).SOPInstanceUID for file in files]


def test_the_small_files_of_the_tests_come_out_as_they_went_in(site):
    files = sorted((Path(__file__).resolve().parents[1] / "data" / "dicom").glob("*.dcm"))
    problems: list[str] = []
    for file in files:
        content = file.read_bytes()
        response = site.post(content)
        assert response.status_code in (200, 202), (file.name, response.text)
        url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        row = {
            "transfer_syntax": str(data_set(content).file_meta.TransferSyntaxUID),
            "pixel_sha256_frame1": "",
        }
        problems += [f"{file.name}: {text}" for text in what_is_wrong(site, url, content, row)]
    assert not problems, "\n".join(problems)
    assert len(files) == 9
