"""Folders of DICOM files into an archive, by the same way in as everything else."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.archive.port import Archive, Outcome, Refused

_BLOCK = 1 << 20
_BATCH = 200


@dataclass(slots=True)
class Summary:
    """What became of the files: numbers, and for each refusal its file and the reason."""

    stored: int = 0
    already: int = 0
    refused: list[tuple[Path | str, str]] = field(default_factory=list)

    def add(self, path: Path | str, outcome: Outcome | None) -> None:
        """Count the outcome of one file; `None` says that it is known."""
        if outcome is None:
            self.already += 1
        elif isinstance(outcome, Refused):
            self.refused.append((path, outcome.message))
        elif outcome.already:
            self.already += 1
        else:
            self.stored += 1

    def lines(self, stored: str) -> Iterator[str]:
        """What became of the files, in words; `stored` is the one for those that are new."""
        yield f"{self.stored} {stored}, {self.already} already there, {len(self.refused)} refused."
        yield from (f"  {count} × {reason}" for reason, count in self.reasons().most_common())
        yield from (f"  {path}: {reason}" for path, reason in self.refused)

    def reasons(self) -> Counter[str]:
        """How many files were refused for each reason."""
        return Counter(reason for _, reason in self.refused)


def files_below(paths: Sequence[Path]) -> list[Path]:
    """Every file in `paths` and the folders below them, in the order of their names."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                inside = (Path(folder, name) for name in sorted(names))
                found.extend(path for path in inside if path.is_file())
        else:
            found.append(path)
    return found


def load(archive: Archive, files: Iterable[Path]) -> Iterator[tuple[Path, Outcome]]:
    """Store `files`; the outcome of each, in order, once it is final."""
    batch: list[Path] = []
    for path in files:
        batch.append(path)
        if len(batch) == _BATCH:
            yield from _load_batch(archive, batch)
            batch = []
    yield from _load_batch(archive, batch)


def _load_batch(archive: Archive, batch: Sequence[Path]) -> Iterator[tuple[Path, Outcome]]:
    if not batch:
        return
    intake = archive.intake()
    for path in batch:
        intake.begin()
        try:
            with path.open("rb", buffering=0) as file:
                while block := file.read(_BLOCK):
                    intake.write(memoryview(block))
        except OSError as error:
            intake.refuse(0x0110, f"The file cannot be read: {os.strerror(error.errno or 0)}.")
            continue
        intake.end()
    yield from zip(batch, intake.finish(), strict=True)
