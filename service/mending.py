"""The commands that put an archive right: `reindex`, `check`, and `import --adopt`."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from service.archive.open import open_archive
from service.archive.reindexing import Fate
from service.importing import Summary, files_below
from service.settings import Settings

_SHOWN = 1_000  # objects that are named one by one
_WRONG = (Fate.SECOND, Fate.FOREIGN, Fate.UNREADABLE)


def reindex(settings: Settings) -> int:
    """Give each object of the store a row, with a bar and a summary; the exit code."""
    archive = open_archive(settings)
    fates: Counter[Fate] = Counter()
    reasons: Counter[str] = Counter()
    try:
        with tqdm(total=archive.count_objects(), unit="object", disable=None) as bar:
            for one in archive.reindex(threads=settings.read_threads):
                fates[one.fate] += 1
                if one.fate in _WRONG:
                    said = one.reason or f"{one.fate.value[0].upper()}{one.fate.value[1:]}."
                    reasons[said] += 1
                    if reasons.total() <= _SHOWN:
                        bar.write(f"{one.object_key}: {said}", file=sys.stdout)
                bar.update()
    finally:
        archive.close()
    left_out = sum(fates[fate] for fate in _WRONG)
    _say(f"{fates[Fate.ENTERED]} entered, {fates[Fate.KNOWN]} had their rows, {left_out} left out.")
    _say(*(f"  {count} × {said}" for said, count in reasons.most_common()))
    gone = fates[Fate.GONE] + fates[Fate.DELETED]
    if gone:
        _say(f"{gone} belong to instances that were deleted; `isthmus sweep` deletes what is left of them.")
    return 1 if left_out else 0


def check(settings: Settings, *, quick: bool) -> int:
    """Compare rows with objects and objects with rows; say what is wrong; the exit code."""
    archive = open_archive(settings)
    well = wrong = 0
    try:
        with tqdm(unit="compared", disable=None) as bar:
            for one in archive.check(threads=settings.read_threads, quick=quick):
                for said in one.wrong:
                    bar.write(f"{one.subject}: {said}", file=sys.stdout)
                well += not one.wrong
                wrong += bool(one.wrong)
                bar.update()
    finally:
        archive.close()
    _say(f"{well} rows and objects are as they should be, {wrong} are not.")
    return 1 if wrong else 0


def adopt(settings: Settings, folders: Sequence[Path]) -> int:
    """Enter the files below `folders` where they lie, with a bar and a summary; the exit code."""
    for folder in folders:
        refusal = _refusal(settings, folder)
        if refusal:
            sys.stderr.write(f"isthmus: {refusal}\n")
            return 2
    archive = open_archive(settings)
    summary = Summary()
    try:
        for folder in folders:
            files = files_below([folder])
            with tqdm(total=len(files), unit="file", disable=None) as bar:
                for outcome in archive.adopt(folder, files, threads=settings.read_threads):
                    summary.add(*outcome)
                    bar.update()
    finally:
        archive.close()
    _say(*summary.lines("adopted"))
    return 1 if summary.refused else 0


def _say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _refusal(settings: Settings, folder: Path) -> str:
    """Why the files below `folder` cannot be adopted, if they cannot."""
    if not folder.is_dir():
        return f"{folder} is no folder; --adopt takes folders."
    scheme, _, root = settings.store.partition("://")
    if scheme != "file":
        return ""
    # What lies in the store is swept where no row names it as an object of the store.
    own, adopted = os.path.realpath(root), os.path.realpath(folder)
    if os.path.commonpath((own, adopted)) in (own, adopted):
        return (
            f"{folder} and ISTHMUS_STORE are one inside the other; `isthmus reindex` enters what is stored."
        )
    return ""
