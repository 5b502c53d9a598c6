"""The settings of performed procedure steps."""

from collections.abc import Mapping
from dataclasses import dataclass

from service import environment


@dataclass(frozen=True, slots=True)
class MppsSettings:
    """How performed procedure steps are kept, and passed on (PS3.4 annex F)."""

    kept: int = 10_000
    """Steps; the oldest that are over and passed on make room."""
    kept_s: float = 30 * 86400.0
    """From the last message about a step."""
    held_bytes: int = 256 << 20
    """In all of them together."""
    messages: int = 100
    """About one step that wait to be passed on."""
    forward_s: float = 7 * 86400.0
    """From a message until a peer that does not take it is given up."""
    forward_delay_s: float = 5.0
    """Between the first two attempts to call a peer; doubled each time."""
    forward_pause_s: float = 900.0
    """The longest such pause."""


def read_mpps(environ: Mapping[str, str]) -> MppsSettings:
    """The settings in `environ`; `SettingError` names the first variable that is no good."""
    days = environment.integer(environ, "ISTHMUS_MPPS_DAYS", 30, least=1, most=3650)
    return MppsSettings(kept_s=86400.0 * days)
