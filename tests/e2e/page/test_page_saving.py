"""Saving files for somebody whose requests need a header, where the server makes no links."""

import zipfile
from pathlib import Path

from tests.making import a_ct

SAVE = """
(async () => {
  const { Dicomweb } = await import("./page/dicomweb.js");
  const { save } = await import("./page/saving.js");
  const session = { bearer: true, fetch: (url, options) => fetch(url, options) };
  const archive = new Dicomweb(ROOT, session);
  await save(archive, STUDY, `${archive.url({ study: STUDY })}?accept=application/zip`, "study.zip");
})()
"""


def test_a_file_comes_through_the_page_where_no_link_can_be_made(page, tmp_path: Path):
    (path,) = page.store(a_ct())
    study = path.split("/")[2]
    tab = page.open()

    file = tab.saved_by(
        lambda: tab.run(SAVE.replace("ROOT", repr(page.root)).replace("STUDY", repr(study))), tmp_path
    )

    assert file.name == "study.zip"
    assert len([one for one in zipfile.ZipFile(file).namelist() if one.endswith(".dcm")]) == 1


def test_what_cannot_be_saved_is_said(page, tmp_path: Path):
    tab = page.open()

    tab.run(SAVE.replace("ROOT", repr(page.root)).replace("STUDY", repr("1.2.3.4")))

    assert "study.zip was not saved" in tab.text(".notice")
    page.expected.append("404")
