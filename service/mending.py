"""The commands that put an archive right: `reindex`, `check`, and `import --adopt`."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from service.archive.adopted import S3
from service.archive.adopted_files import files_as_they_are, place_of
from service.archive.objects import ObjectArchive
from service.archive.open import open_archive
from service.archive.reindexing import Fate
from service.archive.versions import Candidate
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


def adopt(settings: Settings, places: Sequence[str]) -> int:
    """Enter what is in folders or below `s3://BUCKET/PREFIX`, with a bar and a summary; the exit code."""
    for place in places:
        refusal = _refusal(settings, place)
        if refusal:
            sys.stderr.write(f"isthmus: {refusal}\n")
            return 2
    archive = open_archive(settings)
    summary = Summary()
    try:
        for place in places:
            candidates, total = _below(archive, place)
            url = place.rstrip("/") if place.startswith(S3) else place_of(os.path.realpath(place))
            with tqdm(total=total, unit="file", disable=None) as bar:
                for outcome in archive.adopt(url, candidates, threads=settings.read_threads):
                    summary.add(*outcome)
                    bar.update()
    finally:
        archive.close()
    _say(*summary.lines("adopted"))
    return 1 if summary.refused else 0


def _below(archive: ObjectArchive, place: str) -> tuple[Iterable[Candidate], int | None]:
    """What may be adopted at a place, and how much that is, where it is known."""
    if place.startswith(S3):
        return archive.adopted.objects.below(place), None
    files = files_below([Path(place)])
    return files_as_they_are(Path(place), files), len(files)


def _say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _refusal(settings: Settings, place: str) -> str:
    """Why what is at `place` cannot be adopted, if it cannot."""
    if not place.startswith(S3) and not Path(place).is_dir():
        return f"{place} is no folder; --adopt takes folders and s3://BUCKET/PREFIX."
    scheme, _, root = settings.store.partition("://")
    if place.startswith(S3):
        own, adopted = (f"{path.rstrip('/')}/" for path in (settings.store, place))
    else:
        own, adopted = (f"file://{os.path.realpath(path).rstrip('/')}/" for path in (root, place))
    # What lies in the store is swept where no row names it as an object of the store.
    if place.startswith(S3) == (scheme == "s3") and (own.startswith(adopted) or adopted.startswith(own)):
        return f"{place} and ISTHMUS_STORE are one inside the other; `isthmus reindex` enters what is stored."
    return ""
