"""Brings a database to the schema that this program knows, by numbered files that are never edited.

Each file begins with `-- oldest: N`, the number of the oldest program (its highest file) that may still
run once the file is applied.
"""

import re
from dataclasses import dataclass
from importlib import resources

from service.dicom.errors import IndexUnavailable

_NAME = re.compile(r"(\d{3})_\w+\.(\w+)\.sql")
_OLDEST = re.compile(r"-- oldest: (\d+)\n")


@dataclass(frozen=True, slots=True)
class SchemaFile:
    """One step of the schema."""

    number: int
    oldest: int
    sql: str


def schema_files(dialect: str) -> list[SchemaFile]:
    """The steps for `dialect`, `sqlite` or `postgres`, in order."""
    files = []
    for file in (resources.files("service.index") / "schema").iterdir():
        name = _NAME.fullmatch(file.name)
        if name is not None and name[2] == dialect:
            sql = file.read_text("utf-8")
            oldest = _OLDEST.match(sql)
            if oldest is None:
                raise ValueError(f"{file.name} does not say which programs may run on it.")
            files.append(SchemaFile(int(name[1]), int(oldest[1]), sql))
    return sorted(files, key=lambda file: file.number)


def pending(files: list[SchemaFile], applied: int, oldest: int) -> list[SchemaFile]:
    """The files still to be applied to a database at step `applied`.

    `IndexUnavailable` if the database allows only programs from step `oldest` on and this one is older.
    """
    known = files[-1].number
    if oldest > known:
        raise IndexUnavailable("The index was made by a newer version of this program; update this one.")
    return [file for file in files if file.number > applied]
