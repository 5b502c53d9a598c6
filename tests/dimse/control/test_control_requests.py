"""What the bridge's HTTP takes, what it refuses, and what it says of itself."""

import http.client
import json
import socket
from typing import Any

import pytest

from bridge.control.app import ROUTES
from bridge.peers import Peer
from tests.dimse.asking import archive, scripted
from tests.dimse.committing import unused_port
from tests.dimse.dimse_peers import CT_IMAGE, PATIENCE_S, VERIFICATION

PEER = Peer("pacs", "PACS", "127.0.0.1", 104, services=frozenset(("echo",)), retrieve="move")
ORDER = {"resources": [{"study": "1.2.3"}]}


def test_peers_are_told(start):
    bridge = start(PEER, Peer("b/c d", "OTHER", "127.0.0.1", 105))

    answer = bridge.ask("/peers")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json[0] == {
        "name": "pacs",
        "ae_title": "PACS",
        "host": "127.0.0.1",
        "port": 104,
        "services": ["echo"],
        "retrieve": "move",
        "transcode": True,
        "prefer_syntax": None,
        "tls": False,
    }
    assert [one["name"] for one in answer.json] == ["pacs", "b/c d"]


@pytest.mark.parametrize("body", [None, {}])
def test_a_peer_that_answers_an_echo_is_told_so(start, body):
    with archive([], VERIFICATION) as port:
        answer = start(Peer("scp", "SCP", "127.0.0.1", port)).ask("/peers/scp/echo", "POST", body)

    assert answer.status == 200
    assert (answer.json["peer"], answer.json["status"]) == ("scp", "0000")
    assert answer.json["milliseconds"] > 0


def test_a_peer_that_cannot_be_reached_is_told(start):
    answer = start(Peer("gone", "GONE", "127.0.0.1", unused_port())).ask("/peers/gone/echo", "POST")

    assert answer.status == 502
    assert answer.json["detail"] == "The peer cannot be reached."


def test_a_peer_without_verification_is_told(start):
    with archive([], CT_IMAGE) as port:
        answer = start(Peer("scp", "SCP", "127.0.0.1", port)).ask("/peers/scp/echo", "POST")

    assert answer.status == 502
    assert "no C-ECHO" in answer.json["detail"]


@pytest.mark.parametrize(
    ("script", "timeout_s", "status"),
    [
        (lambda peer: None, 0.3, 504),
        (lambda peer: peer.accept(), 0.3, 504),
        (lambda peer: peer.accept() and peer.close(), PATIENCE_S, 502),
        (lambda peer: peer.close(), PATIENCE_S, 502),
    ],
)
def test_a_peer_that_falls_silent_or_hangs_up_is_told(start, script, timeout_s, status):
    with scripted(script) as port:
        bridge = start(Peer("odd", "ODD", "127.0.0.1", port, timeout_s=timeout_s))
        answer = bridge.ask("/peers/odd/echo", "POST")

    assert answer.status == status
    assert "peer" in answer.json["detail"]


BODIES: list[tuple[Any, int, str]] = [
    (b"", 415, "JSON"),
    (b"{", 400, "line 1"),
    (b"[" * 100_000, 400, "no JSON"),
    ({"resources": []}, 400, "1 to 1000"),
    ({"resources": [{"study": "1.2"}] * 1001}, 400, "1 to 1000"),
    ({"resources": {"study": "1.2"}}, 400, "resources"),
    ([], 400, "resources"),
    ("text", 400, "resources"),
    ({"resources": [{"study": "1.2"}], "force": True}, 400, "nothing else"),
    ({"resources": [{"series": "1.2"}]}, 400, "resources[0]"),
    ({"resources": [{"study": "1.2"}, {"study": "1.2", "patient": "x"}]}, 400, "resources[1]"),
    ({"resources": [{"study": "1.2", "instance": "1.3"}]}, 400, "instance"),
    ({"resources": [{"study": "../../etc"}]}, 400, "digits and dots"),
    ({"resources": [{"study": "1.2\\1.3"}]}, 400, "digits and dots"),
    ({"resources": [{"study": "*"}]}, 400, "digits and dots"),
    ({"resources": [{"study": 12}]}, 400, "strings"),
    ({"resources": [{"study": None}]}, 400, "strings"),
    ({"resources": [["1.2"]]}, 400, "object"),
    ({"resources": ["1.2"]}, 400, "path"),
    ({"resources": ["/studies"]}, 400, "path"),
    ({"resources": ["/studies/1.2/instances/3"]}, 400, "path"),
    ({"resources": ["/studies/1.2/series/3/instances/4/frames/1"]}, 400, "path"),
    (b"x" * ((1 << 20) + 1), 413, "1048576"),
]


@pytest.mark.parametrize(("body", "status", "words"), BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("kind", ["store", "retrieve"])
def test_an_order_that_makes_no_sense_is_refused_with_a_reason(one_bridge, kind, body, status, words):
    headers = {"Content-Type": "text/plain"} if body == b"" else {}
    answer = one_bridge.ask(f"/peers/pacs/{kind}", "POST", body, **headers)

    assert answer.status == status
    assert words in answer.json["detail"]
    assert one_bridge.ask("/jobs").json == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_form_of_another_page_may_send_is_refused(one_bridge, kind):
    for action in ("store", "retrieve", "echo"):
        answer = one_bridge.ask(
            f"/peers/pacs/{action}", "POST", json.dumps(ORDER).encode(), Content_Type=kind
        )
        assert answer.status == 415
    assert one_bridge.ask("/jobs").json == []


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/peers/pacs/echo"), ("POST", "/peers/pacs/store"), ("DELETE", "/jobs/x")]
)
def test_pages_of_other_origins_change_nothing(one_bridge, origin, method, path):
    answer = one_bridge.ask(path, method, ORDER, Origin=origin)

    assert answer.status == 403
    assert "ISTHMUS_CORS" in answer.json["detail"]
    assert one_bridge.ask("/jobs").json == []


def test_pages_of_this_machine_and_of_named_origins_may(start):
    bridge = start(PEER, cors=("loopback", "https://viewer.example.org"))
    for origin in ("http://127.0.0.1:8080", "http://localhost:3000", "https://viewer.example.org"):
        preflight = bridge.ask(
            "/peers/pacs/store",
            "OPTIONS",
            Origin=origin,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="content-type",
        )
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Origin"] == origin
        answer = bridge.ask("/peers/nobody/store", "POST", ORDER, Origin=origin)
        assert answer.status == 404
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert "Location" in answer.headers["Access-Control-Expose-Headers"]


def test_pages_of_named_origins_may_use_every_method_that_there_is(start):
    bridge = start(PEER, cors=("https://viewer.example.org",))
    for method, path in {(method, path) for method, path, _ in ROUTES}:
        preflight = bridge.ask(
            path, "OPTIONS", Origin="https://viewer.example.org", Access_Control_Request_Method=method
        )
        assert preflight.status == 204, (method, path)
        assert method in preflight.headers["Access-Control-Allow-Methods"].split(", ")


def test_everybody_may_read_and_nothing_else_where_everybody_is_allowed(start):
    bridge = start(PEER, cors=("*",))

    assert bridge.ask("/peers", Origin="https://a.example").headers["Access-Control-Allow-Origin"] == "*"
    assert bridge.ask("/peers/pacs/store", "POST", ORDER, Origin="https://a.example").status == 403


def raw(bridge, host: str, path: str = "/peers", method: str = "GET") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", bridge.server.address[1], timeout=PATIENCE_S)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost", "LOCALHOST:1", "[::1]:8081", "192.0.2.1"])
def test_requests_by_address_are_answered(one_bridge, host):
    assert raw(one_bridge, host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example:8081", "evil.example", "127.0.0.1.evil.example", "a@127.0.0.1"]
)
def test_a_name_of_somebody_else_that_leads_here_is_refused(one_bridge, host):
    assert raw(one_bridge, host) == 403
    assert raw(one_bridge, host, "/peers/pacs/dicom-web/studies") == 403


def test_a_request_with_two_hosts_is_refused(one_bridge):
    with socket.create_connection(one_bridge.server.address, PATIENCE_S) as client:
        client.sendall(
            b"GET /peers HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))

    assert answer.startswith(b"HTTP/1.1 400 ")


def test_what_is_turned_away_is_noted_like_the_rest(start, caplog):
    caplog.set_level("INFO")
    bridge = start(PEER)

    answer = bridge.ask("/jobs/x", "DELETE", Origin="https://evil.example")

    assert answer.status == 403
    counted = bridge.ask("/metrics").body.decode()  # answered after the line was written
    assert 'method="DELETE",route="-",status="403"} 1' in counted
    assert [answer.headers["X-Request-ID"] in record.getMessage() for record in caplog.records].count(
        True
    ) == 1


def test_behind_a_proxy_any_host_may_be_named(start):
    assert raw(start(PEER, any_host=True), "pacs.example.org") == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/peers/", 200),
        ("HEAD", "/peers", 200),
        ("DELETE", "/peers", 405),
        ("GET", "/peers/pacs", 404),
        ("GET", "/peers/pacs/echo", 405),
        ("POST", "/peers/nobody/echo", 404),
        ("POST", "/peers/%2e%2e/echo", 404),
        ("GET", "/peers/pacs/dicom-web/studies", 404),
        ("GET", "/jobs/nothing", 404),
        ("DELETE", "/jobs/..%2f..%2flock", 404),
        ("GET", "/jobs?state=happy", 400),
        ("GET", "/jobs?kind=move", 400),
        ("GET", "/jobs?limit=0", 400),
        ("GET", "/jobs?limit=-1", 400),
        ("GET", "/jobs?limit=%C2%B2", 400),
        ("GET", "/jobs?state=done&kind=store&peer=pacs&limit=1000", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
    ],
)
def test_every_path_is_answered_as_it_should_be(one_bridge, method, path, status):
    answer = one_bridge.ask(path, method)

    assert answer.status == status, answer.body
    assert answer.headers["X-Request-Id"]
    if status >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_description_is_not_sent_again(one_bridge):
    first = one_bridge.ask("/openapi.json")
    assert first.json["openapi"] == "3.1.0"

    assert one_bridge.ask("/openapi.json", If_None_Match=first.headers["ETag"]).status == 304


def test_it_is_not_ready_without_its_archive(start):
    bridge = start(PEER, url=f"http://127.0.0.1:{unused_port()}/dicom-web")

    answer = bridge.ask("/readyz")

    assert answer.status == 503
    assert "ISTHMUS_ARCHIVE_URL" in answer.json["because"]
    assert bridge.ask("/healthz").status == 200


def test_a_request_has_one_id_in_its_answer_and_in_each_line_of_the_log(start, caplog):
    caplog.set_level("INFO")
    bridge = start(Peer("gone", "GONE", "127.0.0.1", unused_port()))

    answer = bridge.ask("/peers/gone/echo", "POST", X_Request_ID="asked-by.me")
    own = bridge.ask("/peers", X_Request_ID="no id; of a log")

    lines = [record.getMessage() for record in caplog.records]
    assert answer.headers["X-Request-ID"] == "asked-by.me"
    assert len([line for line in lines if line.startswith("id=asked-by.me ")]) == 2
    assert own.headers["X-Request-ID"].isalnum()


def test_numbers_are_told_by_route_never_by_path(one_bridge):
    one_bridge.ask("/jobs/secret-name")
    one_bridge.ask("/secret-name")

    told = one_bridge.ask("/metrics").body.decode()

    assert 'route="/jobs/{id}",status="404"' in told
    assert "secret" not in told


def test_a_body_that_does_not_come_is_not_waited_for_long(start):
    bridge = start(PEER, body_stall_s=0.1)
    with socket.create_connection(bridge.server.address, PATIENCE_S) as client:
        client.sendall(
            b"POST /peers/pacs/store HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 408 ")


class Face:
    """A face that says what it was asked for."""

    def app(self, name: str):
        async def answer(scope, receive, send) -> None:
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": f"{name} {scope['path']}".encode()})

        return answer if name in ("pacs", "a b") else None


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/peers/pacs/dicom-web/studies", "pacs /peers/pacs/dicom-web/studies"),
        ("/peers/pacs/dicom-web", "pacs /peers/pacs/dicom-web"),
        ("/peers/a%20b/dicom-web/x?y=z", "a b /peers/a b/dicom-web/x"),
    ],
)
def test_each_peer_is_a_dicomweb_server_where_it_has_a_face(start, path, told):
    others = [Peer(name, name.upper(), "127.0.0.1", 1) for name in ("a b", "faceless")]
    bridge = start(PEER, *others, faces=Face())

    answer = bridge.ask(path)

    assert (answer.status, answer.body.decode()) == (200, told)
    assert bridge.ask("/peers").json[1]["dicom_web"] == "/peers/a%20b/dicom-web"
    assert "dicom_web" not in bridge.ask("/peers").json[2]
    assert bridge.ask("/peers/nobody/dicom-web/studies").status == 404
    assert bridge.ask("/peers/pacs/dicom-webs").status == 404
    assert bridge.ask(path, "POST", {}, Origin="https://evil.example").status == 403
