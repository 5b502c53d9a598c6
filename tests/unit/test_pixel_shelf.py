"""The shelf: bounded by bytes, the least recently used goes first."""

import threading

from service.pixels.shelf import Shelf


def test_what_was_kept_is_found():
    shelf = Shelf(100)

    shelf.keep("key", "value", 10)

    assert shelf.find("key") == "value"
    assert shelf.find("another") is None
    assert (shelf.kept, shelf.kept_bytes) == (1, 10)


def test_what_was_not_asked_for_longest_makes_room():
    shelf = Shelf(100)
    for key in "abcd":
        shelf.keep(key, key, 25)
    shelf.find("a")

    shelf.keep("e", "e", 20)

    assert [shelf.find(key) for key in "abcde"] == ["a", None, "c", "d", "e"]
    assert shelf.kept_bytes == 95


def test_a_value_takes_the_place_of_an_earlier_one():
    shelf = Shelf(100)
    shelf.keep("key", "first", 20)

    shelf.keep("key", "second", 10)

    assert shelf.find("key") == "second"
    assert (shelf.kept, shelf.kept_bytes) == (1, 10)


def test_what_would_push_out_most_of_the_rest_is_not_kept():
    shelf = Shelf(100)
    shelf.keep("key", "first", 20)

    shelf.keep("key", "too large", 26)

    assert shelf.find("key") is None
    assert (shelf.kept, shelf.kept_bytes) == (0, 0)


def test_without_room_nothing_is_kept():
    shelf = Shelf(0)

    shelf.keep("key", "value", 1)

    assert shelf.find("key") is None


def test_many_threads_keep_the_count():
    shelf = Shelf(1000)

    def use(seed: int) -> None:
        for step in range(500):
            key = (seed * 7 + step * 13) % 40
            if shelf.find(key) is None:
                shelf.keep(key, key, 10 + key)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    held = [key for key in range(40) if shelf.find(key) is not None]
    assert shelf.kept == len(held)
    assert shelf.kept_bytes == sum(10 + key for key in held) <= 1000
