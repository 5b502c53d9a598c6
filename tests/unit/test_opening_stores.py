"""A folder that cannot be the store is told by the name of its setting when the program starts."""

import pytest

from service.environment import SettingError
from service.store.open import open_store


@pytest.mark.parametrize("below", ["", "/objects", "/objects/deep"])
def test_a_file_is_no_folder_for_objects(tmp_path, below):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SettingError, match=r"ISTHMUS_STORE is .*/taken.*folder that can be written"):
        open_store(f"file://{tmp_path}/taken{below}")
