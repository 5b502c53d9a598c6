"""The id by which a request is found in the log: its own where it is sane, else one that it is given."""

import logging
import re

import pytest

from tests.making import a_ct


def test_an_id_that_a_request_brings_is_kept(site, caplog):
    with caplog.at_level(logging.INFO, logger="isthmus"):
        response = site.client.get(
            "http://testserver/dicom-web/studies", headers={"X-Request-ID": "4f2a.bridge-17"}
        )
    assert response.headers["x-request-id"] == "4f2a.bridge-17"
    assert any("id=4f2a.bridge-17 " in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "id=1", 'a"b', "Doe^Jane", "\x1b[31m", "é"])
def test_an_id_that_no_log_should_hold_is_replaced(site, given):
    response = site.client.get(
        "http://testserver/dicom-web/studies", headers={"X-Request-ID": given.encode("latin-1")}
    )
    assert re.fullmatch("[0-9a-f]{12}", response.headers["x-request-id"])


def test_two_ids_are_none(site):
    headers = [("X-Request-ID", "one"), ("X-Request-ID", "two")]
    response = site.client.get("http://testserver/dicom-web/studies", headers=headers)
    assert re.fullmatch("[0-9a-f]{12}", response.headers["x-request-id"])


def test_requests_without_an_id_get_different_ones(site):
    given = {site.get("/studies").headers["x-request-id"] for _ in range(10)}
    assert len(given) == 10


def test_an_error_is_logged_under_the_id_of_its_request(site, caplog):
    site.post(a_ct(study="1.1", series="1.2", instance="1.3"))
    site.archive.close()
    with caplog.at_level(logging.INFO, logger="isthmus"):
        response = site.client.get("http://testserver/readyz", headers={"X-Request-ID": "q1"})
    assert response.headers["x-request-id"] == "q1"
