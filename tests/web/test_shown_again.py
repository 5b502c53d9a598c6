"""The same image in another way: what pictures are made of is kept, and never beyond its time."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from service.index.port import OnDuplicate
from tests.conformance.picturing import JPEG, PNG, an_image, picture, ramp
from tests.conformance.retrieving import keep
from tests.reading import parts_of
from tests.sites import Site

_WINDOWS = ("?window=60,100,linear", "?window=70,120,linear-exact", "?window=64,30,sigmoid", "")
_IDS = {"study": "2.25.1", "series": "2.25.2", "instance": "2.25.3"}


def steps(response) -> list[str]:
    assert response.status_code == 200, response.text
    return [one.partition(";")[0] for one in response.headers["server-timing"].split(", ")]


@pytest.mark.cites("issue 4", "another window of the same slice costs neither reading nor decoding")
def test_another_window_is_drawn_from_the_samples_that_are_there(site):
    path = keep(site, an_image(ramp())) + "/rendered"
    assert {"read", "decode"} <= set(steps(site.get(path)))

    again = site.get(path + _WINDOWS[0])

    assert steps(again) == ["index", "pixels", "render", "encode", "send"]


def test_the_picture_that_is_there_waits_for_nobody(site):
    path = keep(site, an_image(ramp())) + "/rendered"
    first = site.get(path)
    hits = site.house.workshop.load().hits

    again = site.get(path)

    assert steps(again) == ["index", "pixels", "send"]
    assert again.content == first.content
    assert site.house.workshop.load().hits == hits + 1


@pytest.mark.parametrize("below", ["/rendered", "/frames/2/rendered"])
def test_what_is_drawn_from_kept_samples_is_what_is_drawn_from_read_ones(open_site, below):
    file = an_image(ramp(), ramp(first=40))
    kept, read = open_site(), open_site(pixel_cache=0)
    path = keep(kept, file)
    assert keep(read, file) == path

    for window in (*_WINDOWS, *_WINDOWS):
        again, anew = (site.get(path + below + window, PNG) for site in (kept, read))
        assert again.content == anew.content and again.headers["etag"] == anew.headers["etag"]
        assert {"read", "decode"} <= set(steps(anew))


def test_frames_are_not_taken_for_one_another(site):
    path = keep(site, an_image(*(ramp(first=10 * number) for number in range(4))))
    window = "?window=64,200,linear"
    whole = parts_of(site.get(path + "/rendered" + window, f'multipart/related; type="{PNG}"'))

    alone = [site.get(f"{path}/frames/{number}/rendered{window}", PNG).content for number in range(1, 5)]

    assert alone == [part.content for part in whole]
    assert len(set(alone)) == 4


def test_writing_into_a_picture_leaves_no_trace_in_the_next(site):
    colour = np.repeat(ramp(64, 128).astype(np.uint8)[..., None], 3, axis=2)
    path = keep(site, an_image(colour, PatientID="1", PatientName="Doe^Jane")) + "/rendered"
    plain = picture(site.get(path, PNG))

    written = picture(site.get(path + "?annotation=patient", PNG))
    again = picture(site.get(path + "?viewport=128,64", PNG))

    assert not np.array_equal(written, plain)
    assert np.array_equal(again, plain)


def test_what_took_the_place_of_an_instance_is_what_is_shown(open_site):
    site = open_site(on_duplicate=OnDuplicate.REPLACE)
    path = keep(site, an_image(ramp(), **_IDS)) + "/rendered?window=64,128,linear-exact"
    before = picture(site.get(path, PNG))

    assert keep(site, an_image(ramp(first=20), **_IDS)) + "/rendered?window=64,128,linear-exact" == path

    assert not np.array_equal(picture(site.get(path, PNG)), before)


def test_attributes_go_with_the_instance_that_they_are_of(open_site):
    site = open_site(on_duplicate=OnDuplicate.REPLACE)
    path = keep(site, an_image(ramp(), WindowCenter=64, WindowWidth=128, **_IDS)) + "/rendered"
    before = picture(site.get(path, PNG))

    keep(site, an_image(ramp(), WindowCenter=30, WindowWidth=10, **_IDS))

    assert not np.array_equal(picture(site.get(path, PNG)), before)


@contextlib.contextmanager
def all_at_work(site: Site) -> Iterator[None]:
    """No thread for pixels is free for the time of the block."""
    workshop, over, begun = site.house.workshop, threading.Event(), threading.Semaphore(0)

    def work() -> bytes:
        begun.release()
        over.wait(60)
        return b""

    threads = site.house.settings.pixel_threads
    busy = [workshop.submit(("at work", number), work) for number in range(threads)]
    try:
        for _ in busy:
            assert begun.acquire(timeout=60)
        yield
    finally:
        over.set()
        for one in busy:
            one.result(60)


def asked_meanwhile(site: Site, path: str, change: Callable[[], object]) -> Any:
    """The answer to a request that waits in the queue for pixels while `change` is done."""
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(site.get(path, PNG)))
    with all_at_work(site):
        asking.start()
        while not site.house.workshop.load().queued:
            threading.Event().wait(0.005)
        change()
    asking.join(60)
    (answer,) = answers
    return answer


def shown_by(open_site, file: bytes, below: str) -> np.ndarray:
    other = open_site()
    return picture(other.get(keep(other, file) + below, PNG))


def test_attributes_that_came_while_a_picture_waited_are_not_kept_for_what_was_there_before(open_site):
    first = an_image(ramp(256, 128), WindowCenter=64, WindowWidth=128, **_IDS)
    second = an_image(ramp(256, 128), WindowCenter=30, WindowWidth=10, **_IDS)
    site = open_site()
    path = keep(site, first)
    url = "http://testserver/dicom-web" + path

    def replace() -> None:
        assert site.client.delete(url).status_code == 204
        keep(site, second)

    answer = asked_meanwhile(site, path + "/rendered", replace)
    assert np.array_equal(picture(answer), shown_by(open_site, second, "/rendered"))

    assert site.client.delete(url).status_code == 204
    keep(site, first)  # which was right after all
    assert np.array_equal(picture(site.get(path + "/rendered", PNG)), shown_by(open_site, first, "/rendered"))


def test_samples_of_one_instance_never_come_with_the_attributes_of_another(open_site):
    long = {"ImageComments": "x" * 4000, **_IDS}
    first = an_image(ramp(), WindowCenter=64, WindowWidth=128, **long)
    second = an_image(ramp(first=77), WindowCenter=30, WindowWidth=10, **long)
    site = open_site(on_duplicate=OnDuplicate.REPLACE, pixel_cache=256 << 10)  # too small for attributes
    path = keep(site, first)
    site.get(path + "/rendered", PNG)
    assert site.house.workshop.shelf.kept == 1
    flipped = "/rendered?viewport=64,128"

    answer = asked_meanwhile(site, path + flipped, lambda: keep(site, second))

    assert np.array_equal(picture(answer), shown_by(open_site, second, flipped))


def test_many_pictures_in_one_answer_push_out_nothing(open_site):
    site = open_site(pixel_cache=1 << 20)
    path = keep(site, an_image(ramp())) + "/rendered"
    site.get(path)
    many = keep(site, an_image(*(ramp(256, 128, first=number) for number in range(40)), study="2.25.8"))

    assert len(parts_of(site.get(many + "/rendered", f'multipart/related; type="{JPEG}"'))) == 40

    assert not {"read", "decode"} & set(steps(site.get(path + _WINDOWS[0])))


def test_what_was_removed_is_not_shown_any_more(site):
    path = keep(site, an_image(ramp()))
    assert site.get(path + "/rendered").status_code == 200

    assert site.client.delete("http://testserver/dicom-web" + path).status_code == 204

    assert site.get(path + "/rendered" + _WINDOWS[0]).status_code == 404


def test_what_is_kept_is_counted_and_bounded(open_site):
    site = open_site(pixel_cache=1 << 20)
    for number in range(12):
        path = keep(site, an_image(ramp(256, 128, first=number)))
        assert site.get(path + "/rendered", JPEG).status_code == 200

    load, shelf = site.house.workshop.load(), site.house.workshop.shelf

    assert 0 < shelf.kept_bytes <= (1 << 20) // 4
    assert shelf.kept_bytes <= load.kept_bytes <= 1 << 20


def test_an_image_larger_than_its_share_is_shown_from_what_is_read(open_site):
    site: Site = open_site(pixel_cache=1 << 16)
    path = keep(site, an_image(ramp(256, 128))) + "/rendered"
    assert site.get(path).status_code == 200

    assert {"read", "decode"} <= set(steps(site.get(path + _WINDOWS[0])))
