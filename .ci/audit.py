"""`python .ci/audit.py`: whether anything that the programs need is known to be vulnerable.

Known vulnerabilities of the pinned versions end it with 1. Where their database cannot be asked, wholly or
for some packages, it says so and ends with 0: without a network nothing could be built otherwise.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
PATIENCE_S = 60.0
_TIMEOUT_S = 10  # for one question
_NAMED = 8


def report(lock: Path = LOCK) -> Mapping[str, Any] | None:
    """What the database says of the pinned versions, `None` if it cannot be asked. Nothing is installed."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "-r", str(lock), "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(_TIMEOUT_S)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        found = json.loads(told.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    return found if isinstance(found, dict) else None


def verdict(told: Mapping[str, Any] | None) -> tuple[int, Sequence[str]]:
    """The exit code and what is said. What was passed over is not taken for sound."""
    packages = [] if told is None else list(told.get("dependencies", ()))
    asked = [one for one in packages if "skip_reason" not in one]
    passed_over = [str(one["name"]) for one in packages if "skip_reason" in one]
    vulnerable = [one for one in asked if one.get("vulns")]
    lines = []
    for one in vulnerable:
        for known in one["vulns"]:
            fixed = ", ".join(known.get("fix_versions", ())) or "no version"
            lines.append(f"VULNERABLE: {one['name']} {one['version']}: {known['id']}, fixed in {fixed}")
    if not asked:
        lines.append("NOT AUDITED: the database of vulnerabilities cannot be reached; run it where it can.")
    elif passed_over:
        more = "" if len(passed_over) <= _NAMED else f" and {len(passed_over) - _NAMED} more"
        lines.append(f"NOT AUDITED: the database knows nothing of {', '.join(passed_over[:_NAMED])}{more}.")
    if asked and not vulnerable:
        lines.append(f"Nothing is known against {len(asked)} of {len(packages)} pinned packages.")
    return int(bool(vulnerable)), lines


if __name__ == "__main__":
    code, said = verdict(report())
    sys.stdout.writelines(f"audit: {line}\n" for line in said)
    sys.exit(code)
