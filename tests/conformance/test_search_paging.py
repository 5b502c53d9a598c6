"""Order and pages of a search: PS3.18 8.3.4.4."""

import pytest

from tests.conformance.rows import cites, row
from tests.conformance.searching import BY_DATE, GUSEVA, MUELLER, YAMADA, fill, found, one, params, search

PAGING = "PS3.18 8.3.4.4"
INSTANCES = ["1.2.1.1", "1.1.2.1", "1.1.1.2", "1.1.1.1", "1.4.1.1", "1.4.2.1", "1.3.1.1"]


@pytest.fixture
def library(site):
    return fill(site)


@pytest.mark.parametrize(
    ("path", "asked", "expected", "total", "remaining"),
    [
        row(PAGING, "all there is", "/studies", "", BY_DATE, 4, 0),
        row(PAGING, "limit matches at most", "/studies", "limit=2", BY_DATE[:2], 4, 2),
        row(PAGING, "offset passes over matches", "/studies", "offset=1", BY_DATE[1:], 4, 0),
        row(PAGING, "a page inside", "/studies", "limit=1; offset=2", BY_DATE[2:3], 4, 1),
        row(PAGING, "the last page", "/studies", "limit=3; offset=3", BY_DATE[3:], 4, 0),
        row(PAGING, "as many as there are", "/studies", "limit=4", BY_DATE, 4, 0),
        row(PAGING, "a page behind the last match is 204", "/studies", "offset=4", [], 4, 0),
        row(PAGING, "far behind the last match", "/studies", "offset=999999999999999", [], 4, 0),
        row("decision: limit", "limit 0 is 204", "/studies", "limit=0", [], 4, 4),
        row(PAGING, "nothing matches: 204", "/studies", "PatientID=nobody", [], 0, 0),
        row(PAGING, "of some", "/studies", "limit=1; AccessionNumber=A*", [YAMADA], 3, 2),
        row(PAGING, "series", "/series", "limit=2", ["1.2.1", "1.1.2"], 6, 4),
        row(PAGING, "instances", "/instances", "limit=2; offset=2", ["1.1.1.2", "1.1.1.1"], 7, 3),
        row(PAGING, "by documents", "/studies/1.1/instances", "00180050=2.5; limit=1", ["1.1.1.2"], 2, 1),
        row("a client's practice", "empty limit and offset", "/studies", "limit=; offset=", BY_DATE, 4, 0),
        row("a client's practice", "the same limit twice", "/studies", "limit=1; limit=1", BY_DATE[:1], 4, 3),
    ],
)
def test_a_page_and_what_is_left(library, path, asked, expected, total, remaining):
    response = search(library, path, *params(asked))

    assert found(response) == expected
    assert response.headers["X-Total-Count"] == str(total)
    sentence = f"There are {remaining} additional results that can be requested"
    assert response.headers.get("Warning") == (f'299 testserver "{sentence}"' if remaining else None)


@cites(PAGING, "an answer has at most as many matches as the server allows, and says that there are more")
def test_a_limit_above_the_servers_is_capped(open_site):
    library = fill(open_site(max_results=3))

    for asked in ([], [("limit", "100")]):
        response = search(library, "/studies", *asked)
        assert found(response) == BY_DATE[:3]
        assert "There are 1 additional results" in response.headers["Warning"]


@cites("decision: bytes of a page", "a page ends before it is too large, and says that there are more")
def test_a_page_is_bounded_by_its_size(open_site):
    library = fill(open_site(max_result_bytes=2000))
    paged: list[str] = []
    pages = 0
    while more := found(
        response := search(
            library, "/instances", ("includefield", "all"), ("offset", str(len(paged))), ("limit", "5")
        )
    ):
        assert len(response.content) < 2500 or len(more) == 1
        paged += more
        pages += 1
        left = len(INSTANCES) - len(paged)
        assert (f"There are {left} additional" in response.headers.get("Warning", "")) == (left > 0)

    assert pages > 3
    assert paged == INSTANCES


@cites("decision: order", "newest study first, then series and instances by their numbers, then UIDs")
def test_the_order_is_the_same_each_time(library):
    assert found(search(library, "/series")) == ["1.2.1", "1.1.2", "1.1.1", "1.4.1", "1.4.2", "1.3.1"]
    assert found(search(library, "/instances")) == INSTANCES
    assert found(search(library, "/studies/1.1/instances")) == INSTANCES[1:4]


@pytest.mark.parametrize("path", ["/studies", "/series", "/instances", "/studies/1.1/instances"])
@pytest.mark.parametrize("order", ["", "PatientName", "-StudyDate,PatientID"])
@pytest.mark.parametrize("limit", ["1", "2", "3"])
@cites(PAGING, "pages, one after the other, are all the matches, each once")
def test_pages_together_are_everything(library, path, order, limit):
    everything = found(search(library, path, ("orderby", order)))

    paged: list[str] = []
    while page := found(
        search(library, path, ("orderby", order), ("limit", limit), ("offset", str(len(paged))))
    ):
        paged += page

    assert paged == everything


@cites("decision: following pages", "a page goes on behind the last match of the page before")
def test_what_is_stored_and_deleted_between_pages_shifts_nothing(library):
    assert found(search(library, "/studies", ("limit", "2"))) == [YAMADA, MUELLER]
    library.post(one("1.5.1", 1, StudyDate="20250101"))
    library.client.delete("/dicom-web/studies/1.1")

    following = search(library, "/studies", ("limit", "2"), ("offset", "2"))

    assert found(following) == [GUSEVA, "1.3"]
    assert "Warning" not in following.headers
    assert following.headers["X-Total-Count"] == "4"
    assert found(search(library, "/studies", ("limit", "2"))) == ["1.5", YAMADA]


@cites("decision: following pages", "a page follows only what the same client has read")
def test_another_clients_pages_are_not_followed(library):
    assert found(search(library, "/studies", ("limit", "2"), **{"User-Agent": "one"})) == [YAMADA, MUELLER]
    library.post(one("1.5.1", 1, StudyDate="20250101"))

    following = search(library, "/studies", ("offset", "2"), **{"User-Agent": "one"})
    other = search(library, "/studies", ("offset", "2"), **{"User-Agent": "another"})

    assert found(following) == [GUSEVA, "1.3"]
    assert found(other) == [MUELLER, GUSEVA, "1.3"]


@pytest.mark.parametrize(
    ("path", "order", "expected"),
    [
        row("dcm4chee: orderby", "ascending", "/studies", "PatientID", [MUELLER, YAMADA, GUSEVA, "1.3"]),
        row("dcm4chee: orderby", "descending", "/studies", "-PatientID", [GUSEVA, YAMADA, MUELLER, "1.3"]),
        row("dcm4chee: orderby", "by tag", "/studies", "-00100020", [GUSEVA, YAMADA, MUELLER, "1.3"]),
        row("dcm4chee: orderby", "names", "/studies", "PatientName", [MUELLER, YAMADA, GUSEVA, "1.3"]),
        row("dcm4chee: orderby", "dates", "/studies", "StudyDate", [GUSEVA, MUELLER, YAMADA, "1.3"]),
        row(
            "dcm4chee: orderby",
            "several, the default order decides between equals",
            "/series",
            "Modality,-SeriesNumber",
            ["1.1.1", "1.4.1", "1.2.1", "1.4.2", "1.1.2", "1.3.1"],
        ),
        row(
            "dcm4chee: orderby",
            "numbers by value",
            "/studies/1.4/series",
            "-SeriesNumber",
            ["1.4.2", "1.4.1"],
        ),
        row(
            "dcm4chee: orderby",
            "counts",
            "/studies",
            "-NumberOfStudyRelatedInstances",
            [MUELLER, GUSEVA, YAMADA, "1.3"],
        ),
        row(
            "dcm4chee: orderby",
            "instances by an attribute of their study",
            "/instances",
            "StudyInstanceUID,-InstanceNumber",
            ["1.1.1.1", "1.1.2.1", "1.1.1.2", "1.2.1.1", "1.3.1.1", "1.4.1.1", "1.4.2.1"],
        ),
    ],
)
def test_the_order_asked_for(library, path, order, expected):
    assert found(search(library, path, ("orderby", order))) == expected


@pytest.mark.parametrize(
    ("path", "order"),
    [
        row("PS3.18 8.3.1", "an unknown name in orderby is 400", "/studies", "Nonsense"),
        row("PS3.18 8.3.1", "what has many values is 400", "/studies", "StudyDate,ModalitiesInStudy"),
        row("PS3.18 8.3.1", "a lower level is 400", "/studies", "-Modality"),
        row("PS3.18 8.3.1", "what is not indexed is 400", "/instances", "SliceThickness"),
    ],
)
def test_an_order_that_cannot_be_is_named(library, path, order):
    response = search(library, path, ("orderby", order))

    assert response.status_code == 400
    assert order.split(",")[-1].strip("-") in response.json()["detail"]
