"""Trying again: how long, how often, and when not."""

import pytest

from service.dicom.errors import StoreUnavailable
from service.store.s3.retrying import Retrying, Transient


class Failing:
    """An attempt that fails some times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.attempts = 0

    def __call__(self) -> str:
        self.attempts += 1
        self.left -= 1
        if self.left >= 0:
            raise Transient("503")
        return "done"


def give_up(retrying: Retrying, times: int) -> None:
    for _ in range(times):
        with pytest.raises(StoreUnavailable):
            retrying.run("get", Failing(1_000))


def test_an_attempt_that_fails_is_made_again():
    attempt = Failing(3)
    assert Retrying(60.0).run("get", attempt) == "done"
    assert attempt.attempts == 4


def test_an_error_that_stays_is_not_tried_again():
    attempts: list[int] = []

    def attempt() -> None:
        attempts.append(1)
        raise StoreUnavailable("refused")

    with pytest.raises(StoreUnavailable, match="refused"):
        Retrying(60.0).run("get", attempt)
    assert attempts == [1]


def test_who_has_no_patience_tries_once():
    attempt = Failing(1)
    with pytest.raises(StoreUnavailable, match="try again"):
        Retrying(0.0).run("get", attempt)
    assert attempt.attempts == 1


def test_where_nothing_succeeds_nobody_waits_until_something_does():
    # given: many that were given up, by somebody who then has patience
    retrying = Retrying(0.0)
    give_up(retrying, 8)
    retrying._patience_s = 60.0
    # when, then
    attempt = Failing(1)
    with pytest.raises(StoreUnavailable):
        retrying.run("get", attempt)
    assert attempt.attempts == 1
    assert retrying.run("get", Failing(0)) == "done"
    assert retrying.run("get", Failing(2)) == "done"


def test_a_few_that_were_given_up_do_not_take_the_patience_of_others():
    retrying = Retrying(0.0)
    give_up(retrying, 7)
    retrying._patience_s = 60.0
    assert retrying.run("get", Failing(2)) == "done"
