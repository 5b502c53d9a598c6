"""Hooks: what they are told and may say, and that nothing that they do harms the bridge or loses anything."""

import os
import signal
import threading
from pathlib import Path

import pytest

from bridge.settings import read_settings
from service.environment import SettingError
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import PATIENCE_S
from tests.dimse.forwarding.forwarded import (
    a_study,
    an_image,
    instances,
    peer_of,
    rule,
    sent,
    table,
    took,
    uids,
)


@pytest.fixture
def hooks(tmp_path: Path):
    """Writes the module `site_rules` with a function `decide` of the given body; its folder."""

    def write(body: str) -> Path:
        folder = tmp_path / "hooks"
        folder.mkdir(exist_ok=True)
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        (folder / "site_rules.py").write_text(f"import os, sys, time\n\ndef decide(arrival):\n{lines}")
        return folder

    return write


def test_a_hook_says_where_an_instance_goes(start, destination, hooks):
    one, other = destination(title="ONE"), destination(title="OTHER")
    body = (
        'described = arrival["attributes"]["00081030"]["Value"][0]\n'
        'assert "7FE00010" not in arrival["attributes"], "no pixels"\n'
        'assert arrival["calling"] == "SCANNER1" and arrival["to"] == ["one"], "the rest"\n'
        'return {"both": ["one", "other"], "none": [], "rule": None}[described]'
    )
    bridge = start(peer_of(one) + peer_of(other) + rule("one", hook="site_rules:decide"), hooks=hooks(body))
    both, none, left = (an_image(StudyDescription=text) for text in ("both", "none", "rule"))

    assert sent(bridge.port, [none, both, left]) == [0, 0, 0]

    assert sorted(took(one, 2)) == sorted(uids([both, left]))
    assert took(other, 1) == uids([both])
    bridge.wait(None, lambda told: not told["waiting"] and not told["error"])
    assert len(one.got) == 2


def test_a_rule_without_a_hook_does_not_wait_for_one(start, destination, hooks):
    one, other = destination(title="ONE"), destination(title="OTHER")
    rules = rule("one") + rule("other", hook="site_rules:decide")
    bridge = start(peer_of(one) + peer_of(other) + rules, hooks=hooks("raise RuntimeError"))
    image = an_image()

    sent(bridge.port, [image])

    assert took(one, 1) == uids([image])
    assert bridge.wait(None, lambda told: told["error"])["waiting"] == 1
    assert other.got == []


ATTACKS = {
    "raises": "raise ValueError('Doe^Jane')",
    "exits": "sys.exit(3)",
    "dies": "os._exit(1)",
    "is killed": "os.kill(os.getpid(), 9)",
    "hangs": "while True: pass",
    "sleeps": "time.sleep(3600)",
    "answers by itself": "os.write(1, b'{\"number\": 1, \"targets\": []}\\n'); return 'one'",
    "returns a number": "return 42",
    "returns what is no JSON": "return [object()]",
    "names nobody": "return ['nobody']",
    "returns far too much": "return ['x' * 1000] * 1000",
    "takes all memory": "hog = bytearray(1 << 33); return []",
    "recurses": "return decide(arrival)",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hook_that_fails_forwards_where_the_rule_says_so(start, destination, hooks, attack, caplog):
    there = destination()
    peers = peer_of(there) + rule("dest", hook="site_rules:decide", hook_failure="forward")
    bridge = start(peers, hooks=hooks(ATTACKS[attack]), hook_timeout_s=1.0)
    image = an_image()

    assert sent(bridge.port, [image]) == [0]

    assert took(there, 1) == uids([image])
    assert 'hook=site_rules:decide rule="rule 1" failed="' in caplog.text
    assert "Doe" not in caplog.text


def test_what_a_hook_prints_starts_and_leaves_behind_does_no_harm(start, destination, hooks, tmp_path):
    there = destination()
    body = (
        "print('x' * 100000); sys.stderr.write('y' * 100000); sys.stdin.read()\n"
        "child = os.fork()\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child)) if child else None\n"
        "return ['dest']"
    )
    bridge = start(peer_of(there) + rule("dest", hook="site_rules:decide"), hooks=hooks(body))
    study = a_study(3)

    sent(bridge.port, study)

    assert sorted(took(there, 3)) == sorted(uids(study))
    assert bridge.told(None)["error"] == ""


def test_what_a_hook_has_started_ends_with_it(start, destination, hooks, tmp_path):
    mark = tmp_path / "pid"
    body = (
        "import subprocess\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        f"open({str(mark)!r}, 'w').write(str(child.pid))\n"
        "raise RuntimeError"
    )
    there = destination()
    bridge = start(
        peer_of(there) + rule("dest", hook="site_rules:decide", hook_failure="forward"), hooks=hooks(body)
    )
    sent(bridge.port, [an_image()])
    took(there, 1)

    assert gone(int(mark.read_text()))


def gone(pid: int) -> bool:
    """Whether a process ends, or has ended and is only not waited for."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.02)):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        pause.wait(0.02)
    os.kill(pid, signal.SIGKILL)
    return False


def test_an_instance_is_held_until_the_hook_answers(start, destination, hooks, tmp_path):
    there = destination()
    ready = tmp_path / "ready"
    body = f"assert os.path.exists({str(ready)!r})\nreturn None"
    bridge = start(peer_of(there) + rule("dest", hook="site_rules:decide"), hooks=hooks(body))
    image = an_image()
    sent(bridge.port, [image])
    assert "AssertionError at site_rules.py:4" in bridge.wait(None, lambda told: told["error"])["error"]
    assert instances(there) == []

    ready.touch()

    assert took(there, 1) == uids([image])


def test_an_undecided_instance_outlasts_the_bridge(start, destination, hooks):
    there = destination()
    peers = peer_of(there) + rule("dest", {"calling": "SCANNER1"}, hook="site_rules:decide")
    first = start(peers, hooks=hooks("raise RuntimeError"))
    image = an_image()
    sent(first.port, [image])
    first.wait(None, lambda told: told["error"])
    first.end()

    start(peers, hooks=hooks("return ['dest'] if arrival['calling'] == 'SCANNER1' else []"))

    assert took(there, 1) == uids([image])


def test_a_hook_does_not_see_what_the_bridge_is_told(start, destination, hooks, monkeypatch):
    monkeypatch.setenv("ISTHMUS_SECRET_OF_TESTS", "1")
    there = destination()
    body = "return [] if any('ISTHMUS' in name for name in os.environ) else ['dest']"
    bridge = start(peer_of(there) + rule("dest", hook="site_rules:decide"), hooks=hooks(body))

    sent(bridge.port, [image := an_image()])

    assert took(there, 1) == uids([image])


@pytest.mark.parametrize(
    ("body", "hook"),
    [("return", "site_rules:missing"), ("return", "other:decide"), (")(", "site_rules:decide")],
)
def test_a_hook_that_cannot_be_loaded_keeps_the_bridge_from_starting(start, hooks, body, hook):
    there = table("peers.dest", {"ae_title": "DEST", "host": "127.0.0.1", "port": unused_port()})

    with pytest.raises(SettingError, match="ISTHMUS_HOOKS"):
        start(there + rule("dest", hook=hook), hooks=hooks(body))


def test_rules_with_hooks_need_their_folder(tmp_path):
    peers = table("peers.dest", {"ae_title": "DEST", "host": "127.0.0.1", "port": 104})
    (tmp_path / "peers.toml").write_text(peers + rule("dest", hook="a:b"))

    with pytest.raises(SettingError, match="ISTHMUS_HOOKS must name the folder of the hook a:b"):
        read_settings({"ISTHMUS_PEERS": str(tmp_path / "peers.toml")})
    with pytest.raises(SettingError, match="ISTHMUS_HOOKS must be a folder"):
        read_settings({"ISTHMUS_HOOKS": str(tmp_path / "nowhere")})
