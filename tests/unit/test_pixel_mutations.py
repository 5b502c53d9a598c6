"""Damaged codestreams neither crash nor hang a decoder, nor make it take memory without end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COUNT = int(os.environ.get("ISTHMUS_MUTATIONS", "1000"))


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_damaged_frames_are_refused_or_decoded_but_never_crash_hang_or_fill_the_memory():
    # Two frames, grey and colour, for each transfer syntax: two thousand damaged ones for each decoder.
    run = subprocess.run(
        [sys.executable, "-m", "tests.mutating", str(COUNT)],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert (run.returncode, run.stdout, run.stderr[-2000:]) == (0, "0 wrong\n", "")
