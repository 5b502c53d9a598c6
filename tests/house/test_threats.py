"""The threats that docs/security.md tells of: each has its tests, and they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ASKED = (
    "Polyglots", "Decompression bombs", "XML bombs", "JSON bombs", "Paths", "Header injection",
    "Request smuggling", "SSRF", "Cache poisoning", "DNS rebinding", "CSRF", "Timing", "Vulnerable packages",
)  # fmt: skip


def rows() -> dict[str, list[str]]:
    """The cells of each line of the table behind the threat's name."""
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    section = text.partition("\n## Threats\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines[1:]}


def test_every_threat_has_tests_that_exist():
    found = {threat: re.findall(r"`([^`]+)`", cells[-1]) for threat, cells in rows().items()}

    assert {threat for threat, tests in found.items() if not tests} == set()
    missing = {one for tests in found.values() for one in tests if not (ROOT / "tests" / one).is_file()}
    assert missing == set()
    assert {
        one for tests in found.values() for one in tests if not Path(one).name.startswith("test_")
    } == set()


def test_every_attack_is_of_a_threat():
    named = {one for cells in rows().values() for one in re.findall(r"`([^`]+)`", cells[-1])}
    attacks = {f"attacks/{path.name}" for path in (ROOT / "tests/attacks").glob("test_*.py")}

    assert attacks <= named


def test_every_threat_says_what_is_tried_and_what_is_done():
    assert {threat for threat, cells in rows().items() if len(cells) != 3 or not all(cells)} == set()
    assert set(ASKED) <= set(rows())


def test_nothing_takes_the_salt_out_of_hashes():
    told = [ROOT / "Makefile", ROOT / "Dockerfile", *(ROOT / "helm").rglob("*.*"), *(ROOT / ".ci").iterdir()]
    told += [*(ROOT / "service").rglob("*.py"), *(ROOT / "bridge").rglob("*.py")]

    unsalted = [path for path in told if path.is_file() and b"PYTHONHASHSEED" in path.read_bytes()]

    assert unsalted == []
