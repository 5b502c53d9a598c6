"""The settings of the modality worklist."""

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.worklist.locations import PUSHED, Location, read_locations
from service import environment


@dataclass(frozen=True, slots=True)
class WorklistSettings:
    """Where the modality worklist comes from, and how much of it there may be (PS3.4 annex K)."""

    sources: tuple[Location, ...] = (PUSHED,)
    hide_done: bool = True
    """Whether steps are told no more of which a completed performed procedure step is known."""
    items: int = 20_000
    """Items that are pushed."""
    body_bytes: int = 16 << 20
    """The longest list that is pushed."""
    changes: int = 256
    """Single items that change before the list is written anew."""
    steps: int = 100_000
    """In a folder, or in the answer of a database."""
    held_bytes: int = 256 << 20
    """In all items that are pushed, or in all steps of a folder."""
    files: int = 50_000
    """In a folder."""
    file_bytes: int = 16 << 20
    refresh_s: float = 1.0
    """Between two looks at a folder."""
    look_s: float = 60.0
    """For one such look, before a query that waits for it fails."""
    statement_s: float = 20.0
    """For each part of a database's answer."""
    connections: int = 4
    """To a database."""
    wait_s: float = 10.0
    """For one of them, and for the database to take it."""


def read_worklist(environ: Mapping[str, str]) -> WorklistSettings:
    """The settings in `environ`; `SettingError` names the first variable that is no good."""
    done = environment.one_of(environ, "ISTHMUS_WORKLIST_DONE", "hide", ("hide", "show"))
    return WorklistSettings(
        sources=read_locations(environment.text(environ, "ISTHMUS_WORKLIST", "pushed")),
        hide_done=done == "hide",
    )
