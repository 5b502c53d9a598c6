"""`isthmus up` and the bridge's HTTP: told where it is, ready, refused where its port is taken."""

import json
import socket
import urllib.request

from tests.e2e.conftest import PATIENCE_S


def answer_of(program, path: str):
    with urllib.request.urlopen(
        f"http://127.0.0.1:{program.bridge_port}{path}", timeout=PATIENCE_S
    ) as answer:
        return json.load(answer)


def test_the_bridge_says_where_it_is_and_that_it_is_ready(start, tmp_path):
    peers = tmp_path / "peers.toml"
    peers.write_text('[peers.itself]\nae_title = "SELF"\nhost = "127.0.0.1"\nport = 104\n')
    program = start(ISTHMUS_PEERS=str(peers)).wait_ready()
    program.wait_for("Try:")

    assert f"http://127.0.0.1:{program.bridge_port}/peers" in program.output
    assert answer_of(program, "/readyz") == {"status": "ready"}
    assert [one["name"] for one in answer_of(program, "/peers")] == ["itself"]


def test_a_port_of_the_bridge_that_is_taken_ends_everything_with_a_reason(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        program = start(ISTHMUS_BRIDGE_PORT=str(taken.getsockname()[1]))
        assert program.end() == 2

    assert "ISTHMUS_BRIDGE_PORT" in program.output
    assert program.members() == []
