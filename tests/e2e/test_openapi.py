"""Requests made from the OpenAPI document, sent to the real service: none ends in a fault of ours.

They go to one where nobody signs in, and to one where people have to: of a stranger, and of who may do all.
"""

from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from openapi.__main__ import SOURCE
from tests.access.conftest import hashed
from tests.e2e.conftest import Program
from tests.making import a_ct

schemathesis: Any = pytest.importorskip("schemathesis", reason="schemathesis makes the requests.")
BOUNDARY = "bnd"
PART = b"--bnd\r\nContent-Type: application/dicom\r\n\r\n%s\r\n"

FILE = a_ct()
FILES = st.one_of(
    st.binary(max_size=400),
    st.just(FILE),
    st.integers(0, len(FILE)).map(lambda size: FILE[:size]),
    st.builds(
        lambda at, noise: FILE[:at] + noise + FILE[at + len(noise) :],
        st.integers(0, len(FILE)),
        st.binary(max_size=8),
    ),
)
MULTIPARTS = st.one_of(
    st.binary(max_size=400),
    st.lists(FILES, max_size=3).map(lambda files: b"".join(PART % file for file in files) + b"--bnd--"),
)
schemathesis.openapi.media_type("application/dicom", FILES)
for inner in ("dicom", "dicom+json", "dicom+xml"):
    schemathesis.openapi.media_type(f'multipart/related; type="application/{inner}"', MULTIPARTS)

SCHEMA = schemathesis.openapi.from_path(SOURCE)
BESIDE_THE_ROOT = {
    path for path, item in SCHEMA.raw_schema["paths"].items() if item.get("servers") == [{"url": "/"}]
}
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def known(product) -> dict[str, str]:
    """The path parameters of an instance that is there."""
    response = httpx.post(
        product.root + "/studies",
        content=a_ct(),
        headers={"Content-Type": "application/dicom"},
        timeout=PATIENCE_S,
    )
    url: str = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    _, study, _, series, _, instance = url.removeprefix(product.root + "/").split("/")
    return {
        "study": study,
        "series": series,
        "instance": instance,
        "frames": "1",
        "path": "7FE00010",
        "name": "main.js",
    }


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The same where people have to sign in: alice may do everything."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "passwords").write_text(f"alice:{hashed('secret')}\n")
    settings = {"ISTHMUS_AUTH": "basic", "ISTHMUS_PASSWORDS_FILE": "passwords"}
    program = Program(folder, "serve", ISTHMUS_WORKERS="1", **settings).wait_ready()
    yield program
    program.close()


def is_open(case: Any) -> bool:
    """Whether the document says that an operation is for everybody."""
    return bool(case.operation.definition.raw.get("security") == [])


@SCHEMA.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_no_request_that_the_document_describes_is_a_fault_of_ours(case, product, guarded, known):
    base, guarded_base = (
        one.root.removesuffix("/dicom-web") if case.path in BESIDE_THE_ROOT else one.root
        for one in (product, guarded)
    )
    if case.media_type is not None and case.media_type.startswith("multipart/"):
        case.headers = {**(case.headers or {}), "Content-Type": f"{case.media_type}; boundary={BOUNDARY}"}
    made = dict(case.path_parameters or {})
    there = {name: known[name] for name in made}
    for parameters in (made, there) if case.method != "DELETE" else (made,):
        case.path_parameters = parameters
        response = case.call(base_url=base, timeout=PATIENCE_S)
        assert response.status_code < 500, (case.method, case.path, response.text)
        described = {int(status) for status in case.operation.definition.raw["responses"]}
        # 405 is nobody's own: a path that goes wrong may lead to another resource or to none.
        assert response.status_code in described | {404, 405}, (case.method, case.path, response.text)
    stranger = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}
    refused = case.call(base_url=guarded_base, timeout=PATIENCE_S, headers=stranger)
    assert is_open(case) or 400 <= refused.status_code < 500, (case.method, case.path, refused.status_code)
    taken = case.call(base_url=guarded_base, timeout=PATIENCE_S, auth=("alice", "secret"))
    assert taken.status_code < 500 and taken.status_code != 401, (case.method, case.path, taken.status_code)
