"""What is written about the product agrees with what it is."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SETTING = re.compile(r"ISTHMUS_[A-Z][A-Z_0-9]+")


def settings_in(*folders: str) -> set[str]:
    """The settings that the programs read: string constants that are a setting's name."""
    return {
        node.value
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SETTING.fullmatch(node.value)
    }


def test_every_setting_has_its_line_in_the_documentation():
    described = set(_SETTING.findall((ROOT / "docs/settings.md").read_text()))
    assert settings_in("service", "bridge") - described == set()


def test_no_setting_is_described_that_nobody_reads():
    described = set(_SETTING.findall((ROOT / "docs/settings.md").read_text()))
    assert described - settings_in("service", "bridge") == set()


def test_the_lock_files_name_no_index():
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--index" not in text
        assert "--hash=sha256:" in text


def test_the_readme_names_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert "make run" in readme
    assert "make test" in readme
