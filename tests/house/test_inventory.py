"""The inventory of the image: what it names and what it refuses; the licences of the lock file will do."""

import importlib.metadata
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_ONLY = {"hatchling", "editables", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"}


@pytest.fixture(scope="module")
def inventory() -> ModuleType:
    specification = importlib.util.spec_from_file_location("inventory", ROOT / ".ci/inventory.py")
    assert specification is not None
    assert specification.loader is not None
    made = importlib.util.module_from_spec(specification)
    sys.modules["inventory"] = made
    specification.loader.exec_module(made)
    return made


@pytest.fixture
def install(tmp_path: Path):
    """Puts a distribution into a folder, with metadata and files as a wheel would."""

    def install(
        name: str, *lines: str, files: dict[str, str] | None = None
    ) -> importlib.metadata.Distribution:
        info = f"{name}-1.0.dist-info"
        metadata = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines]) + "\n"
        contents = {
            f"{info}/METADATA": metadata,
            **{k.format(info=info): v for k, v in (files or {}).items()},
        }
        for path, text in contents.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        record = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
        (tmp_path / info / "RECORD").write_text(record)
        return importlib.metadata.Distribution.at(tmp_path / info)

    return install


def sbom(*components: dict[str, object]) -> str:
    return json.dumps({"bomFormat": "CycloneDX", "components": components})


@pytest.mark.parametrize(
    ("lines", "licence"),
    [
        (["License-Expression: MIT OR Apache-2.0"], "MIT OR Apache-2.0"),
        (["License: BSD-3-Clause"], "BSD-3-Clause"),
        (["License: MPL-2.0 AND MIT"], "MPL-2.0 AND MIT"),
        (["License: MIT License"], "MIT"),
        (["Classifier: License :: OSI Approved :: MIT License"], "MIT"),
        (["License-Expression: LGPL-3.0-only"], "LGPL-3.0-only"),
        (
            ["License-Expression: GPL-3.0-or-later WITH GCC-exception-3.1"],
            "GPL-3.0-or-later WITH GCC-exception-3.1",
        ),
    ],
)
def test_a_licence_is_found_wherever_it_stands(inventory, install, lines, licence):
    assert inventory.described(install("thing", *lines)).licence == licence


@pytest.mark.parametrize(
    "lines", [[], ["License: see the file"], ["Classifier: License :: OSI Approved :: BSD License"]]
)
def test_a_licence_that_is_not_known_ends_the_build(inventory, install, lines):
    with pytest.raises(inventory.InventoryError, match=r"licence of thing .* is not known"):
        inventory.described(install("thing", *lines))


@pytest.mark.parametrize(
    "licence",
    ["GPL-2.0-only", "GPL-3.0-or-later", "AGPL-3.0", "MIT AND GPL-2.0", "GPL-2.0 WITH Font-exception-2.0"],
)
def test_a_licence_that_binds_what_it_is_linked_with_ends_the_build(inventory, install, licence):
    with pytest.raises(inventory.InventoryError, match="must not be part"):
        inventory.described(install("thing", f"License-Expression: {licence}"))
    crate = sbom({"name": "crate", "licenses": [{"expression": licence}]})
    with pytest.raises(inventory.InventoryError, match="crate in thing"):
        inventory.described(install("thing", "License: MIT", files={"{info}/sboms/a.json": crate}))


def test_a_codec_that_a_wheel_begins_to_bring_along_ends_the_build(inventory, install):
    codec = {"imagecodecs.libs/libx265-0123abcd.so.199": ""}
    with pytest.raises(inventory.InventoryError, match="libx265 in imagecodecs"):
        inventory.described(install("imagecodecs", "License: BSD-3-Clause", files=codec))


def test_what_is_inside_of_a_wheel_is_named(inventory, install):
    files = {
        "imagecodecs.libs/libjxl-75330aa4.so.0.12.0": "",
        "imagecodecs.libs/libjxl_cms-ef1f7d64.so.0.12.0": "",
        "{info}/sboms/a.cdx.json": sbom(
            {"name": "imagecodecs", "version": "1.0", "purl": "pkg:pypi/imagecodecs@1.0?file_name=x.whl"},
            {
                "name": "crate",
                "version": "2",
                "purl": "pkg:cargo/crate@2",
                "licenses": [{"license": {"id": "MIT"}}],
            },
        ),
        "{info}/licenses/LICENSE": "text",
        "imagecodecs/licenses/LICENSE-jxl": "text",
    }
    part = inventory.described(install("imagecodecs", "License: BSD-3-Clause", files=files))
    assert [(one.name, one.version, one.licence) for one in part.parts] == [
        ("libjxl", "", "BSD-3-Clause"),
        ("libjxl_cms", "", "BSD-3-Clause"),
        ("crate", "2", "MIT"),
    ]
    assert part.texts == ("imagecodecs-1.0.dist-info/licenses/LICENSE", "imagecodecs/licenses/LICENSE-jxl")


def test_packages_of_the_base_are_those_that_are_installed(inventory, tmp_path):
    status, release = tmp_path / "status", tmp_path / "os-release"
    status.write_text(
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.41-12\n"
        "Description: words\n more words\n .\n and more\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n"
        "Package: gcc-14-base\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2+b~3\n"
    )
    release.write_text('NAME="Debian"\nID=debian\n')
    found = list(inventory.debian_packages(status, release))
    assert [part.purl for part in found] == [
        "pkg:deb/debian/libc6@2.41-12?arch=amd64",
        "pkg:deb/debian/gcc-14-base@1%3A2%2Bb~3?arch=all",
    ]
    assert list(inventory.debian_packages(tmp_path / "none", release)) == []


@pytest.mark.parametrize(
    ("licence", "binds"),
    [
        ("MIT", False),
        ("GPL-2.0", True),
        ("LGPL-2.1-or-later", False),
        ("Apache-2.0 OR GPL-2.0-only", False),
        ("MIT/GPL-2.0", False),
        ("GPL-2.0-only OR GPL-3.0-only", True),
        ("GPL-2.0-only OR AGPL-3.0 OR MIT", False),
        ("GPL-2.0-only AND (MIT OR Apache-2.0)", True),
        ("(MIT OR GPL-2.0) AND BSD-3-Clause", False),
        ("MIT OR BSD-3-Clause AND GPL-2.0-only", False),
        ("GPL-2.0-only OR (MIT AND GPL-2.0-only)", True),
        ("MIT AND GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("some words", False),
        ("GPL perhaps", True),
    ],
)
def test_who_may_choose_is_not_bound(inventory, licence, binds):
    assert inventory._binds(licence) is binds


def test_the_same_contents_are_told_alike_in_whatever_order_they_lie(inventory, install):
    files = {f"imagecodecs.libs/{name}-0123abcd.so.1": "" for name in ("libjxl", "libaom", "libtiff")}
    one = inventory.described(install("imagecodecs", "License: BSD-3-Clause", files=files))
    other = inventory.described(
        install("imagecodecs", "License: BSD-3-Clause", files=dict(reversed(files.items())))
    )
    assert inventory.bill([one], []) == inventory.bill([other], [])


def test_every_package_that_the_image_installs_has_a_licence_that_will_do(inventory):
    names = re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    parts = []
    for name in sorted(set(names) - BUILD_ONLY):
        try:
            parts.append(inventory.described(importlib.metadata.distribution(name)))
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
    document = json.loads(inventory.bill(parts, []))
    assert {"imagecodecs", "numpy", "pydicom"} <= {component["name"] for component in document["components"]}
    told = inventory.licences(parts, [])
    assert all(f"{part.name} {part.version}: {part.licence}" in told for part in parts)
