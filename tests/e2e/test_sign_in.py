"""`isthmus up` where people sign in: the bridge does so by itself, modalities notice nothing."""

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE

from tests.access.issuer import AUDIENCE, running_issuer

FILES = Path(__file__).resolve().parents[1] / "data" / "dicom"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def signed_in(start: Callable[..., Any], tmp_path: Path):
    """Service and bridge with alice, who may do everything, and bob, who may read."""
    lines = []
    for name, scopes in (("alice", ""), ("bob", ":read")):
        made = subprocess.run(
            [sys.executable, "-m", "service", "password", name],
            input=f"of {name}\n",
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=60,
            check=True,
        )
        lines.append(made.stdout.strip() + scopes)
    (tmp_path / "passwords").write_text("\n".join(lines) + "\n")

    def begin(**settings: str) -> Any:
        return start(ISTHMUS_AUTH="basic", ISTHMUS_PASSWORDS_FILE="passwords", **settings).wait_ready()

    return begin


def asked(url: str, user: str = "", method: str = "GET", token: str = "") -> tuple[int, bytes]:
    told = "Basic " + base64.b64encode(f"{user}:of {user}".encode()).decode() if user else ""
    told = f"Bearer {token}" if token else told
    request = urllib.request.Request(url, headers={"Authorization": told} if told else {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


def sent(program: Any) -> tuple[int, str]:
    """The status of a C-STORE, and the study."""
    found = dcmread(next(path for path in sorted(FILES.rglob("*")) if path.is_file()))
    entity = AE(ae_title="MODALITY")
    entity.add_requested_context(found.SOPClassUID, found.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", program.dimse_port, ae_title="ISTHMUS")
    assert association.is_established
    try:
        return association.send_c_store(found).Status, str(found.StudyInstanceUID)
    finally:
        association.release()


def test_a_modality_stores_and_only_people_have_to_sign_in(signed_in):
    program = signed_in()

    status, study = sent(program)

    assert status == 0
    assert asked(f"{program.root}/studies")[0] == 401
    code, body = asked(f"{program.root}/studies", "bob")
    assert code == 200
    assert [one["0020000D"]["Value"] for one in json.loads(body)] == [[study]]
    assert asked(f"{program.root}/studies/{study}", "bob", "DELETE")[0] == 403
    bridge = f"http://127.0.0.1:{program.bridge_port}"
    assert asked(f"{bridge}/jobs")[0] == 401
    assert asked(f"{bridge}/jobs", "bob")[0] == 200
    assert asked(f"{bridge}/readyz")[0] == 200
    assert asked(f"{program.root}/studies/{study}", "alice", "DELETE")[0] == 204
    assert "of alice" not in program.output
    for pid in program.members():  # what the bridge signs in with is in none of these, nor in a file
        environ = Path(f"/proc/{pid}/environ").read_text(errors="replace")
        assert "LOGIN" not in environ
    assert not list(program.folder.rglob("*token*"))


def test_whatever_dies_is_started_again_and_the_bridge_still_signs_in(signed_in):
    program = signed_in()
    assert sent(program)[0] == 0
    for word in ("--socket", "-m bridge"):
        one = next(pid for pid, line in program.commands().items() if word in line)
        os.kill(one, signal.SIGKILL)
    program.wait_for("died=true", times=2)
    program.wait_for("listening ae_title", times=2)
    program.wait_ready()
    assert sent(program)[0] == 0


def test_tokens_of_a_provider_let_in_and_so_does_the_bridge(start):
    with running_issuer() as issuer:
        program = start(
            ISTHMUS_AUTH="jwt", ISTHMUS_OIDC_ISSUER=issuer.url, ISTHMUS_OIDC_AUDIENCE=AUDIENCE
        ).wait_ready()
        status, study = sent(program)
        assert status == 0
        assert asked(f"{program.root}/studies")[0] == 401
        good = issuer.token(scope="dicom:read")
        assert asked(f"{program.root}/studies/{study}/metadata", token=good)[0] == 200
        assert asked(f"http://127.0.0.1:{program.bridge_port}/jobs", token=good)[0] == 200
        assert asked(f"{program.root}/studies/{study}", token=good, method="DELETE")[0] == 403
