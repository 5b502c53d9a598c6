"""What the first process of a container does for the others; a subreaper stands in for it."""

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Orphans come to a subreaper (prctl 36) as they come to a first process.
_PROGRAM = """
import ctypes, os, signal, sys, threading
from service import orphans
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
code = orphans.attend()
if code is not None:
    sys.exit(code)
{child}
"""


def attended(child: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(child=child)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def outcome(program: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = program.communicate(timeout=120)
    return program.returncode, output


def test_the_exit_code_is_that_of_the_program():
    assert outcome(attended("print('ran'); sys.exit(7)")) == (7, "ran\n")


def test_a_program_that_a_signal_ended_is_told_as_shells_tell_it():
    assert outcome(attended("os.kill(os.getpid(), signal.SIGKILL)")) == (128 + signal.SIGKILL, "")


def test_orphans_are_buried_while_the_program_runs():
    child = """
reading, writing = os.pipe()
if (parent := os.fork()) == 0:
    orphan = os.fork()
    orphan and os.write(writing, str(orphan).encode())
    os._exit(0)
os.waitpid(parent, 0)
orphan = os.read(reading, 20).decode()
pause = threading.Event()
for _ in range(200):
    if not os.path.exists("/proc/" + orphan):
        sys.exit(0)
    pause.wait(0.05)
sys.exit(open("/proc/" + orphan + "/status").read())
"""
    assert outcome(attended(child)) == (0, "")


def test_a_signal_comes_to_the_program_once():
    child = """
told = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: told.append(number))
print("ready", flush=True)
while signal.SIGTERM not in told:
    signal.pause()
sys.exit(len(told))
"""
    program = attended(child)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.send_signal(signal.SIGTERM)
    assert outcome(program) == (1, "")


def test_a_signal_of_the_terminal_reaches_the_program_by_its_parent_only():
    assert outcome(attended("print(os.getpgrp() == os.getpid() != os.getppid())")) == (0, "True\n")
