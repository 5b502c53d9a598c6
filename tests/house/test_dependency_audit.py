"""The audit of pinned packages: what is known against one ends it, what was not looked at is said."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOUND = {"name": "anyio", "version": "4.16.0", "vulns": []}
VULNERABLE = {
    "name": "pyjwt",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-2022-202", "fix_versions": ["2.4.0"]}, {"id": "CVE-1", "fix_versions": []}],
}
SKIPPED = {"name": "apsw", "skip_reason": "not found"}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    specification = importlib.util.spec_from_file_location("audit", ROOT / ".ci/audit.py")
    assert specification is not None and specification.loader is not None
    made = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(made)
    return made


def test_what_is_known_ends_it_and_is_named(audit):
    code, lines = audit.verdict({"dependencies": [SOUND, VULNERABLE]})

    assert code == 1
    assert lines == [
        "VULNERABLE: pyjwt 1.0: PYSEC-2022-202, fixed in 2.4.0",
        "VULNERABLE: pyjwt 1.0: CVE-1, fixed in no version",
    ]


def test_nothing_known_is_success(audit):
    assert audit.verdict({"dependencies": [SOUND]}) == (
        0,
        ["Nothing is known against 1 of 1 pinned packages."],
    )


@pytest.mark.parametrize("told", [None, {}, {"dependencies": []}, {"dependencies": [SKIPPED] * 20}])
def test_a_database_that_cannot_be_asked_is_no_finding_and_is_said(audit, told):
    code, lines = audit.verdict(told)

    assert code == 0
    assert [line for line in lines if line.startswith("NOT AUDITED")]
    assert not [line for line in lines if line.startswith("Nothing is known")]


def test_packages_that_were_passed_over_are_named(audit):
    code, lines = audit.verdict({"dependencies": [SOUND, SKIPPED]})

    assert code == 0
    assert "apsw" in lines[0] and lines[0].startswith("NOT AUDITED")
    assert lines[1] == "Nothing is known against 1 of 2 pinned packages."


def test_a_vulnerable_package_is_found_among_those_passed_over(audit):
    assert audit.verdict({"dependencies": [SKIPPED, VULNERABLE]})[0] == 1


def test_make_check_asks(audit):
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]

    assert ".ci/audit.py" in recipe
    assert audit.LOCK.is_file()
