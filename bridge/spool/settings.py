"""The settings of the spool."""

from collections.abc import Mapping
from dataclasses import dataclass

from service import environment


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """How instances are kept while the archive does not take them, and sent on afterwards."""

    size_bytes: int = 0
    """The most bytes that are kept, those in quarantine among them; 0: none are taken."""
    instances: int = 200_000
    """The most that are kept: each has a file, and some 500 bytes of memory."""
    reserve_bytes: int = 256 << 20
    """Left free on the disk."""
    own_bytes: int = 1 << 20
    """Of an instance that arrives are held in memory in any case."""
    held_bytes: int = 64 << 20
    """More than that, of all that arrive together, before copies go into files."""
    threads: int = 4
    """That write, read and sync."""
    answer_s: float = 30.0
    """For the archive's answer, before an instance is kept instead; shorter than modalities wait."""
    studies: int = 4
    """Sent on at a time."""
    pause_s: float = 0.5
    """Before an archive that was lost is tried again; doubled each time."""
    longest_pause_s: float = 10.0
    strikes: int = 5
    """How often the archive may fail with an instance, and take others meanwhile, before it is set aside."""


def read_spool(environ: Mapping[str, str]) -> SpoolSettings:
    """The settings in `environ`; `SettingError` names the variable if it is no good."""
    return SpoolSettings(size_bytes=environment.size(environ, "ISTHMUS_SPOOL", 0, least=64 << 20))
