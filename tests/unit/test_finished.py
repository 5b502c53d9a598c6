"""Finished answers in memory."""

from service.web.finished import FinishedAnswers


def test_the_latest_generation_of_an_answer_is_kept():
    answers = FinishedAnswers(1 << 20)
    answers.keep(("a",), "1", b"first")
    answers.keep(("a",), "2", b"second")
    assert answers.get(("a",)) == ("2", b"second")
    assert answers.get(("b",)) is None


def test_the_least_recently_used_go_first():
    answers = FinishedAnswers(64 << 10)
    for number in range(8):
        answers.keep((str(number),), "1", bytes(7 << 10))
        answers.get(("0",))
    assert answers.get(("0",)) is not None
    answers.keep(("8",), "1", bytes(7 << 10))
    assert answers.get(("1",)) is None


def test_many_small_answers_are_bounded_too():
    answers = FinishedAnswers(64 << 10)
    for number in range(1000):
        answers.keep((str(number),), "1", b"x")
    assert 0 < sum(answers.get((str(number),)) is not None for number in range(1000)) < 64


def test_a_large_answer_does_not_push_out_the_others():
    answers = FinishedAnswers(64 << 10)
    answers.keep(("small",), "1", b"x")
    answers.keep(("large",), "1", bytes(9 << 10))
    assert answers.get(("large",)) is None
    assert answers.get(("small",)) is not None


def test_an_answer_that_grew_too_large_does_not_leave_its_earlier_generation_behind():
    answers = FinishedAnswers(64 << 10)
    answers.keep(("a",), "1", b"x")
    answers.keep(("a",), "2", bytes(9 << 10))
    assert answers.get(("a",)) is None
    assert answers.load().held_bytes == 0
