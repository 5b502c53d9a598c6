"""What is counted, by whom, and what can never become a label."""

import re

import pytest

from service.index.port import Connections
from service.index.sqlite import SqliteIndex
from service.pages import Pages, shared
from service.web.metrics import LENGTH, OTHER, SCALARS, TRANSACTIONS, Meters
from service.web.transactions import BESIDE, DESCRIBED
from tests.making import a_ct

ONE = "/studies/1.1/series/1.2/instances/1.3"
LINE = re.compile(r'([a-z_]+)(?:\{([a-z_]+="[^"\\]*"(?:,[a-z_]+="[^"\\]*")*)\})? (\S+)')


def told(text: str) -> dict[str, float]:
    """The samples by name and labels, each line checked."""
    samples = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match is not None, line
            name = f"{match[1]}{{{match[2]}}}" if match[2] else match[1]
            assert name not in samples
            samples[name] = float(match[3])
    return samples


def scraped(site) -> dict[str, float]:
    response = site.client.get("http://testserver/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return told(response.text)


def test_requests_are_counted_by_transaction_and_status(site):
    file = a_ct(study="1.1", series="1.2", instance="1.3")
    site.post(file)
    site.post(file)
    site.post(b"no DICOM")
    for path in ("/studies", "/studies?limit=x", ONE + "/frames/1", ONE + "/frames/1/", ONE + "/frames/9"):
        site.get(path)
    numbers = scraped(site)

    def requests(transaction: str, status: int) -> float:
        return numbers[f'isthmus_http_requests_total{{transaction="{transaction}",status="{status}"}}']

    assert requests("StoreInstances", 200) == 2
    assert requests("StoreInstances", 409) == 1
    assert (requests("SearchForStudies", 200), requests("SearchForStudies", 400)) == (1, 1)
    assert (requests("RetrieveFrames", 200), requests("RetrieveFrames", 404)) == (2, 1)
    assert numbers['isthmus_http_request_seconds_count{transaction="RetrieveFrames"}'] == 3
    assert numbers['isthmus_http_request_seconds_bucket{transaction="RetrieveFrames",le="+Inf"}'] == 3
    received = numbers['isthmus_http_received_bytes_total{transaction="StoreInstances"}']
    assert received == 2 * len(file) + len(b"no DICOM")
    assert numbers['isthmus_store_instances_total{outcome="stored"}'] == 1
    assert numbers['isthmus_store_instances_total{outcome="already"}'] == 1
    assert numbers['isthmus_store_instances_total{outcome="refused"}'] == 1
    # of all that is in flight only the request for the numbers themselves
    assert numbers["isthmus_http_requests_in_flight"] == 1


def test_what_answers_are_spent_on_is_counted_by_step(site):
    site.post(a_ct(study="1.1", series="1.2", instance="1.3"))
    site.get(ONE + "/frames/1")
    site.get(ONE + "/rendered")
    numbers = scraped(site)

    def taken(transaction: str, step: str) -> float | None:
        name = f'isthmus_http_step_seconds_count{{transaction="{transaction}",step="{step}"}}'
        return numbers.get(name)

    assert taken("RetrieveFrames", "index") == 1
    assert taken("RetrieveFrames", "render") is None
    assert taken("RetrieveRenderedInstance", "render") == 1


def test_a_step_that_nobody_knows_is_not_counted():
    meters = Meters()
    meters.begun()
    meters.ended(
        "RetrieveFrames", 200, received=0, sent=0, head_s=0.1, whole_s=0.1, whole=True, steps={"odd": 1.0}
    )
    assert "odd" not in meters.text().decode()


def test_connections_to_the_index_are_counted(tmp_path):
    index = SqliteIndex(tmp_path / "index.db")
    with index._links.lent():
        assert index.connections() == Connections(lent=1, idle=0)
    assert index.connections() == Connections(lent=0, idle=1)
    index.close()


def test_no_request_makes_a_label(site):
    before = set(scraped(site))
    for number in range(20):
        site.client.request(f"BREW{number}", f"http://testserver/dicom-web/studies/SECRET{number}")
        site.get(f"/SECRET{number}")
        site.client.get(f"http://testserver/dicom-web/studies?PatientName=SECRET{number}")
    after = set(scraped(site))
    assert "SECRET" not in str(after)
    assert "BREW" not in str(after)
    known = {*TRANSACTIONS}
    assert {name for one in after for name in re.findall('transaction="([^"]+)"', one)} <= known
    assert len(after - before) < 200


def test_what_has_no_name_is_counted_as_other(site):
    site.get("/nowhere")
    assert scraped(site)[f'isthmus_http_requests_total{{transaction="{OTHER}",status="404"}}'] == 1


def test_every_transaction_has_its_row():
    assert {one.identity for one in DESCRIBED.values()} | {*BESIDE.values()} < {*TRANSACTIONS}
    assert len(set(TRANSACTIONS)) == len(TRANSACTIONS)


def finish(meters: Meters, times: int = 1) -> None:
    for _ in range(times):
        meters.begun()
        meters.ended("RetrieveFrames", 200, received=1, sent=2, head_s=0.001, whole_s=0.002, whole=True)


def test_the_numbers_are_those_of_all_processes():
    memory = shared(LENGTH, 3)
    meters = [Meters(Pages(LENGTH, descriptor=memory, place=place)) for place in range(3)]
    for place, one in enumerate(meters):
        finish(one, place + 1)
        one.put("lag", place / 10)
        one.put("resident", 1000)
    for one in meters:
        numbers = told(one.text().decode())
        assert numbers['isthmus_http_requests_total{transaction="RetrieveFrames",status="200"}'] == 6
        assert numbers["isthmus_loop_lag_seconds"] == 0.2
        assert numbers["isthmus_resident_bytes"] == 3000
        assert numbers["isthmus_http_processes"] == 3


def test_a_process_counts_on_from_the_one_whose_place_it_takes():
    memory = shared(LENGTH, 1)
    first = Meters(Pages(LENGTH, descriptor=memory))
    finish(first)
    first.begun()  # and then it dies
    first.put("pixels_hits", 5)
    second = Meters(Pages(LENGTH, descriptor=memory))
    finish(second)
    second.put("pixels_hits", 2)
    numbers = told(second.text().decode())
    assert numbers['isthmus_http_requests_total{transaction="RetrieveFrames",status="200"}'] == 2
    assert numbers["isthmus_http_requests_in_flight"] == 0
    assert numbers['isthmus_cache_hits_total{cache="pixels"}'] == 7


def test_statuses_and_times_beyond_the_table_are_counted():
    meters = Meters()
    meters.begun()
    meters.ended("NoSuchThing", 299, received=0, sent=0, head_s=None, whole_s=1e6, whole=False)
    numbers = told(meters.text().decode())
    assert numbers[f'isthmus_http_requests_total{{transaction="{OTHER}",status="other"}}'] == 1
    assert numbers[f'isthmus_http_request_seconds_bucket{{transaction="{OTHER}",le="60.0"}}'] == 0
    assert numbers[f'isthmus_http_request_seconds_bucket{{transaction="{OTHER}",le="+Inf"}}'] == 1
    assert numbers[f'isthmus_http_broken_answers_total{{transaction="{OTHER}"}}'] == 1


def test_a_place_that_is_not_there_is_refused():
    memory = shared(LENGTH, 2)
    with pytest.raises(ValueError, match="no such page"):
        Pages(LENGTH, descriptor=memory, place=2)


def test_families_have_one_kind_and_one_explanation():
    kinds: dict[str, set[tuple[str, str]]] = {}
    for scalar in SCALARS.values():
        kinds.setdefault(scalar.family, set()).add((scalar.kind, scalar.explained))
    assert {family for family, told in kinds.items() if len(told) > 1} == set()
