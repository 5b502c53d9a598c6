"""The dictionary says what pydicom says, entry by entry."""

import subprocess
import sys

from pydicom import datadict
from pydicom._dicom_dict import DicomDictionary
from pydicom._private_dict import private_dictionaries

from service.dicom.dictionary import entry_of, private_vr_of, tag_of


def test_every_standard_attribute_is_known_as_pydicom_knows_it():
    for tag, row in DicomDictionary.items():
        assert entry_of(tag) == (row[0], row[4])


def test_every_keyword_is_known_as_pydicom_knows_it():
    for keyword, tag in datadict.keyword_dict.items():
        if not keyword:
            continue
        assert tag_of(keyword) == tag
    assert tag_of("NoSuchAttribute") is None


def test_repeating_groups_are_known_by_any_number():
    for tag in (0x50000030, 0x501E0030, 0x60000010, 0x60FE3000, 0x00203150, 0x7F000010):
        assert entry_of(tag) == (datadict.dictionary_VR(tag), datadict.dictionary_keyword(tag))


def test_what_is_in_no_table_is_unknown():
    assert entry_of(0x00091001) is None
    assert entry_of(0x00080007) is None


def test_private_elements_are_known_as_pydicom_knows_them():
    for creator, rows in private_dictionaries.items():
        for key in rows:
            tag = int(key.replace("xxxx", "0910").replace("xx", "10"), 16)
            try:
                expected: str | None = datadict.private_dictionary_VR(tag, creator)
            except KeyError:  # a key that no tag is looked up by
                expected = None
            assert private_vr_of(creator, tag) == expected, (creator, key)
    assert private_vr_of("NOBODY", 0x00091001) is None


def test_the_service_starts_without_importing_pydicom():
    code = (
        "import sys, service.app, service.serving; from service.dicom import dictionary; dictionary.load();"
    )
    code += "sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
