"""What an operator may set of the audit trail."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.audit.sinks import OFF, checked
from service.environment import integer, one_of, text


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Where events go, whether they hold Patient IDs, for how many seconds small ones are joined."""

    sink: str = OFF
    patients: bool = True
    join_s: int = 10


def read_audit(environ: Mapping[str, str]) -> AuditSettings:
    """The settings in `environ`; `SettingError` names the variable that is no good."""
    default = AuditSettings()
    return AuditSettings(
        sink=checked(text(environ, "ISTHMUS_AUDIT", default.sink)),
        patients=one_of(environ, "ISTHMUS_AUDIT_PATIENTS", "on", ("on", "off")) == "on",
        join_s=integer(environ, "ISTHMUS_AUDIT_JOIN_S", default.join_s, most=300),
    )
