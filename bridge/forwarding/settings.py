"""The settings of forwarding by rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bridge.peers import Peers
from service import environment
from service.environment import SettingError


@dataclass(frozen=True, slots=True)
class ForwardingSettings:
    """How instances are sent on by rules, and how long that is tried."""

    most: int = 200_000
    """Instances that wait or have failed, for all targets together; each takes about 1 KiB of memory."""
    give_up_s: float = 7 * 86400.0
    """How long an instance is tried before it counts as failed."""
    hooks: Path | None = None
    """The folder of the modules that hooks are in."""
    hook_timeout_s: float = 2.0
    hook_start_s: float = 30.0
    """For a hook's module to be imported."""
    hook_bytes: int = 1 << 30
    """The address space of a hook's process."""
    gather_s: float = 1.0
    """How long instances of a study are gathered before the first of them is sent."""
    batch: int = 500
    """Instances that go over one association."""
    retry_delay_s: float = 2.0
    """Before the second attempt; doubled each time."""
    retry_pause_s: float = 300.0
    """The longest such pause."""
    missing_tries: int = 6
    """How often the archive is asked for an instance that it has not, before it counts as failed."""
    stop_s: float = 2.0
    """For the instance that is being sent when the program ends."""
    held_bytes: int = 32 << 20
    """In instances that are fetched ahead, of each target."""
    sending: int = 4
    """Instances that are sent to a DICOMweb server at a time."""
    head_bytes: int = 1 << 20
    """The beginning of a data set in which rules look for attributes; else the archive is asked."""
    deciding: int = 4
    """Instances of which the archive is asked for the attributes at a time."""
    metadata_bytes: int = 16 << 20
    """The longest answer to that."""
    segment_bytes: int = 16 << 20
    """Of the journal, before it is compacted."""
    rounds: int = 3
    """How often an instance goes to one target within `round_s`; more than that is a circle of servers."""
    round_s: float = 3600.0
    remembered: int = 200_000
    """Instances of which that is known."""
    warn_s: float = 60.0
    """Between two lines of the log that say that there is no room."""


def read_forwarding(environ: Mapping[str, str], peers: Peers) -> ForwardingSettings:
    """The settings in `environ`, for the rules of `peers`; `SettingError` names what is no good."""
    given = environment.text(environ, "ISTHMUS_HOOKS", "")
    if given and not Path(given).is_dir():
        raise SettingError(f"ISTHMUS_HOOKS must be a folder with Python modules; it is {given!r}.")
    for rule in peers.rules:
        if rule.hook and not given:
            raise SettingError(
                f"ISTHMUS_HOOKS must name the folder of the hook {rule.hook} of ISTHMUS_PEERS ({rule.name})."
            )
    return ForwardingSettings(
        most=environment.integer(environ, "ISTHMUS_FORWARD_MAX", 200_000, least=1, most=10_000_000),
        give_up_s=86400.0 * environment.integer(environ, "ISTHMUS_FORWARD_DAYS", 7, least=1, most=365),
        hooks=Path(given).resolve() if given else None,
        hook_timeout_s=environment.integer(environ, "ISTHMUS_HOOK_TIMEOUT_S", 2, least=1, most=60),
    )
