"""What is in the image, and under which licences: `python inventory.py FOLDER`, run by the Dockerfile.

Writes `sbom.cdx.json` (CycloneDX 1.6) and `licences.txt`, the same bytes for the same contents. Ends with 1,
and says what to do, where a licence is not known or is one that would bind Isthmus: then no image is built.
"""

import json
import platform
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.parser import HeaderParser
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import quote

_DPKG = Path("/var/lib/dpkg/status")
_OS = Path("/etc/os-release")

# What distributions that name no SPDX expression say in words, in their metadata or the file LICENSE.
DISTRIBUTIONS = {
    "obstore": "MIT",
    "protobuf": "BSD-3-Clause",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "uvloop": "MIT OR Apache-2.0",
}
WORDS = {"MIT License": "MIT", "Apache License 2.0": "Apache-2.0", "Apache Software License": "Apache-2.0"}

_RUNTIME = "GPL-3.0-or-later WITH GCC-exception-3.1"

# Shared libraries that wheels bring along, by their folder and their name without digest and version.
LIBRARIES = {
    "imagecodecs.libs": {
        "libImath-3_2": "BSD-3-Clause",
        "libLerc": "Apache-2.0",
        "libOpenEXRCore-3_5": "BSD-3-Clause",
        "libSPERR": "Apache-2.0",
        "libSZ3c": "BSD-3-Clause",
        "libaec": "BSD-2-Clause",
        "libaom": "BSD-2-Clause",
        "libavif": "BSD-2-Clause",
        "libblosc": "BSD-3-Clause",
        "libblosc2": "BSD-3-Clause",
        "libbrotlicommon": "MIT",
        "libbrotlidec": "MIT",
        "libbrotlienc": "MIT",
        "libcharls": "BSD-3-Clause",
        "libcpcodec": "Apache-2.0",
        "libdeflate": "MIT",
        "libgif": "MIT",
        "libgomp": _RUNTIME,
        "libisal": "BSD-3-Clause",
        "libjpeg": "IJG AND BSD-3-Clause AND Zlib",
        "libjpegxr": "BSD-2-Clause",
        "libjxl": "BSD-3-Clause",
        "libjxl_cms": "BSD-3-Clause",
        "libjxl_threads": "BSD-3-Clause",
        "libjxrglue": "BSD-2-Clause",
        "liblcms2": "MIT",
        "liblz4": "BSD-2-Clause",
        "liblzfse": "BSD-3-Clause",
        "liblzhamcomp": "LicenseRef-public-domain",
        "liblzhamdecomp": "LicenseRef-public-domain",
        "liblzhamdll": "LicenseRef-public-domain",
        "liblzma": "0BSD",
        "liblzokay": "MIT",
        "liblzokay-c": "MIT",
        "libmeshoptimizer": "MIT",
        "libopenjp2": "BSD-2-Clause",
        "libopenjph": "BSD-2-Clause",
        "libpng16": "libpng-2.0",
        "libsharpyuv": "BSD-3-Clause",
        "libsnappy": "BSD-3-Clause",
        "libsz": "BSD-2-Clause",
        "libtiff": "libtiff",
        "libuhdr": "Apache-2.0",
        "libwavpack": "BSD-3-Clause",
        "libwebp": "BSD-3-Clause",
        "libwebpdemux": "BSD-3-Clause",
        "libwebpmux": "BSD-3-Clause",
        "libzfp": "BSD-3-Clause",
        "libzopfli": "Apache-2.0",
        "libzstd": "BSD-3-Clause",
    },
    "numpy.libs": {
        "libscipy_openblas64_": f"BSD-3-Clause AND BSD-3-Clause-Open-MPI AND {_RUNTIME}",
    },
    "psycopg_binary.libs": {
        "libcom_err": "MIT",
        "libcrypt": "LGPL-2.1-or-later",
        "libcrypto": "Apache-2.0",
        "libgssapi_krb5": "MIT",
        "libk5crypto": "MIT",
        "libkeyutils": "LGPL-2.1-or-later",
        "libkrb5": "MIT",
        "libkrb5support": "MIT",
        "liblber": "OLDAP-2.8",
        "libldap": "OLDAP-2.8",
        "libpq": "PostgreSQL",
        "libsasl2": "BSD-4-Clause-UC",
        "libssl": "Apache-2.0",
    },
}

# The GPL binds what it is linked with, but for an exception; the LGPL does not bind what loads a library.
_BINDING = re.compile(r"A?GPL(?!.* WITH GCC-exception).*")
_EXPRESSION = re.compile(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*")
_LIBRARY = re.compile(r"(?P<name>lib.+?)(?:-[0-9a-f]{8})?\.so(?:\..*)?")


class InventoryError(Exception):
    """Something in the image has a licence that is not known or will not do; the message says what."""


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of software in the image, and what it has in it; `texts` are the files of its licence."""

    name: str
    version: str
    licence: str
    purl: str = ""
    texts: tuple[str, ...] = ()
    file: str = ""
    parts: tuple["Part", ...] = field(default=())


def main(arguments: list[str]) -> int:
    """Write both files into the folder that is named; the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: inventory.py FOLDER\n")
        return 2
    folder = Path(arguments[0])
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *_base_paths()}
    try:
        parts = sorted(map(described, _once(distributions(path=sorted(paths)))), key=_order)
    except InventoryError as error:
        sys.stderr.write(f"inventory: {error}\n")
        return 1
    python = platform.python_version()
    parts.append(Part("python", python, "PSF-2.0", f"pkg:generic/python@{python}"))
    packages = list(debian_packages(_DPKG, _OS))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sbom.cdx.json").write_text(bill(parts, packages), encoding="utf-8")
    (folder / "licences.txt").write_text(licences(parts, packages), encoding="utf-8")
    sys.stdout.write(f"inventory: {len(parts)} programs and libraries, {len(packages)} Debian packages\n")
    return 0


def described(distribution: Distribution) -> Part:
    """A distribution with the libraries in it. `InventoryError` if a licence is unknown or binding."""
    name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
    files = sorted(map(str, distribution.files or []))
    inside = [*_libraries(name, files), *_compiled_in(distribution, files)]
    stem = f"{name}@{quote(distribution.version)}"
    return Part(
        name,
        distribution.version,
        _free(name, _licence(name, distribution)),
        f"pkg:pypi/{stem}",
        tuple(file for file in files if _is_text(file)),
        parts=tuple(inside),
    )


def debian_packages(status: Path, release: Path) -> Iterator[Part]:
    """The packages of the base, whose licences stand in `/usr/share/doc/NAME/copyright`; none elsewhere."""
    if not status.exists():
        return
    told = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line)
    distro = told.get("ID", "debian").strip('"')
    for paragraph in re.split(r"\n\n+", status.read_text(encoding="utf-8").strip()):
        package = HeaderParser().parsestr(paragraph)
        if package["Status"] != "install ok installed":
            continue
        name, version = package["Package"], package["Version"]
        purl = f"pkg:deb/{distro}/{name}@{quote(version, safe='~')}?arch={package['Architecture']}"
        yield Part(name, version, "", purl)


def bill(parts: Iterable[Part], packages: Iterable[Part]) -> str:
    """The bill of materials in CycloneDX 1.6, about Isthmus itself where it is among `parts`."""
    parts = list(parts)
    subject = [part for part in parts if part.name == "isthmus"]
    document: dict[str, object] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**_component(subject[0]), "type": "application"}} if subject else {},
        "components": [_component(part) for part in [*parts, *packages] if part not in subject],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def licences(parts: Iterable[Part], packages: Iterable[Part]) -> str:
    """The list for people: each part, its licence, and where the text of it is in the image."""
    lines = [
        "Licences of what is in this image. Paths are below /opt/isthmus/lib/python3*/site-packages.",
        "",
    ]
    for part in parts:
        lines.append(f"{part.name} {part.version}: {part.licence}")
        lines.extend(f"    {text}" for text in part.texts)
        lines.extend(f"  with {_label(one)}: {one.licence or 'see ' + part.name}" for one in part.parts)
    lines += ["", "Packages of the base, each with its licence in /usr/share/doc/PACKAGE/copyright:", ""]
    lines.extend(f"{package.name} {package.version}" for package in packages)
    return "\n".join(lines) + "\n"


def _licence(name: str, distribution: Distribution) -> str:
    metadata = distribution.metadata
    stated = metadata.get("License-Expression") or DISTRIBUTIONS.get(name)
    if stated:
        return str(stated)
    words = str(metadata.get("License") or "").strip()
    if _EXPRESSION.fullmatch(words):
        return words
    classified = [str(line).rpartition(":: ")[2] for line in metadata.get_all("Classifier") or ()]
    said = [WORDS[word] for word in (words, *classified) if word in WORDS]
    if not said:
        raise InventoryError(
            f"the licence of {name} {distribution.version} is not known. Look it up and add a row to "
            "DISTRIBUTIONS in .ci/inventory.py."
        )
    return said[0]


def _libraries(owner: str, files: Iterable[str]) -> Iterator[Part]:
    """The shared libraries that a wheel brings along for its modules."""
    for file in files:
        folder, _, base = file.rpartition("/")
        found = _LIBRARY.fullmatch(base)
        if not folder.endswith(".libs") or found is None:
            continue
        name = found["name"]
        licence = LIBRARIES.get(folder, {}).get(name)
        if licence is None:
            raise InventoryError(
                f"the licence of {name} in {owner} is not known. Look it up and add a row to LIBRARIES in "
                ".ci/inventory.py."
            )
        yield Part(name, "", _free(f"{name} in {owner}", licence), file=file)


def _compiled_in(distribution: Distribution, files: Iterable[str]) -> Iterator[Part]:
    """What the bills of materials of a wheel name: crates and packages that its modules are built of."""
    found: dict[tuple[str, str], Part] = {}
    for file in files:
        if ".dist-info/sboms/" not in file or not file.endswith(".json"):
            continue
        for component in json.loads(Path(str(distribution.locate_file(file))).read_bytes()).get(
            "components", ()
        ):
            purl = str(component.get("purl", ""))
            if purl.startswith("pkg:pypi/"):  # the wheel itself
                continue
            name, version = str(component["name"]), str(component.get("version", ""))
            licence = " AND ".join(_expressions(component))
            owner = f"{name} in {distribution.metadata['Name']}"
            found[name, version] = Part(name, version, _free(owner, licence), purl.partition("?")[0])
    yield from (found[key] for key in sorted(found))


def _expressions(component: dict[str, list[dict[str, object]]]) -> Iterator[str]:
    for entry in component.get("licenses", ()):
        licence = entry.get("license")
        if isinstance(licence, dict):
            yield str(licence.get("id") or licence.get("name"))
        elif entry.get("expression"):
            yield " ".join(str(entry["expression"]).split())


def _free(owner: str, licence: str) -> str:
    """`licence`, unless it binds what it is linked with."""
    if _binds(licence):
        raise InventoryError(f"the licence of {owner} is {licence}, which must not be part of the image.")
    return licence


def _binds(licence: str) -> bool:
    """Whether an SPDX expression binds in any case: with AND if one part does, with OR if all do."""

    def digit(found: re.Match[str]) -> str:
        return {"AND": "&", "OR": "|"}.get(found[0], "1" if _BINDING.fullmatch(found[0]) else "0")

    said = re.sub(r"[\w.+-]+(?: WITH [\w.-]+)?", digit, licence.replace("/", " OR ")).replace(" ", "")
    before = ""
    while said != before:
        before = said
        said = re.sub(r"\(([01])\)", r"\1", said)
        said = re.sub(r"[01]&[01]", lambda found: str(int("1" in found[0])), said)
        said = re.sub(r"(?<!&)[01]\|[01](?!&)", lambda found: str(int(found[0] == "1|1")), said)
    return "1" in said  # words that are no expression bind where one of them does


def _component(part: Part) -> dict[str, object]:
    component: dict[str, object] = {"type": "library", "name": part.name}
    if part.version:
        component["version"] = part.version
    if part.licence:
        component["licenses"] = [{"expression": part.licence}]
    if part.purl:
        component["purl"] = part.purl
    if part.file:
        component["properties"] = [{"name": "isthmus:file", "value": part.file}]
    if part.parts:
        component["components"] = [_component(one) for one in part.parts]
    return component


def _once(found: Iterable[Distribution]) -> list[Distribution]:
    """Each distribution once, the one that is found first by the program."""
    seen: dict[str, Distribution] = {}
    for distribution in found:
        seen.setdefault(str(distribution.locate_file("")) + distribution.metadata["Name"], distribution)
    return list(seen.values())


def _base_paths() -> Iterator[str]:
    """Where the interpreter that an environment is made of has packages of its own."""
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    for name in ("purelib", "platlib"):
        yield sysconfig.get_path(name, "posix_prefix", vars=base)


def _is_text(file: str) -> bool:
    name = file.rpartition("/")[2].upper()
    return "/licenses/" in file.lower() or (
        ".dist-info/" in file and name.startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE"))
    )


def _label(part: Part) -> str:
    return f"{part.name} {part.version}".strip()


def _order(part: Part) -> tuple[bool, str, str]:
    return part.name != "isthmus", part.name, part.version


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
