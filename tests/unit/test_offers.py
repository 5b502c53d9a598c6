"""Offers of other protocols are left out of heads, wherever these are cut (RFC 9110 7.8)."""

import pytest

from service.http1 import _without_offer

LINE = b"uPgrade: h2c\r\n"
BEFORE = b"POST / HTTP/1.1\r\nHost: upgrade: h\r\n"
BEHIND = b"Content-Length: 9\r\n\r\n"
BODY = b"x\r\nUpgrade: h2c\r\n\r\nUpgrade: y\r\n"


def passed_on(blocks: list[bytes]) -> bytes:
    """What is left of blocks that begin inside a head, as the server takes them."""
    left, last = b"", b""
    for block in blocks:
        block = _without_offer(block, last)
        left, last = left + block, (last + block)[-3:]
    return left


@pytest.mark.parametrize("head", [BEFORE + LINE + BEHIND, BEFORE + LINE + b"\r\n"])
def test_an_offer_is_left_out_of_a_head(head):
    assert passed_on([head + BODY]) == head.replace(LINE, b"") + BODY


@pytest.mark.parametrize(
    "head", [BEFORE + LINE + BEHIND, BEFORE + LINE + b"\r\n", BEFORE + LINE + LINE + BEHIND]
)
def test_a_head_may_be_cut_anywhere(head):
    for cut in range(1, len(head)):
        left = passed_on([head[:cut], head[cut:] + BODY])
        assert left.endswith(b"\r\n\r\n" + BODY)
        assert left.removesuffix(BODY) in (head, head.replace(LINE, b"", 1), head.replace(LINE, b""))
        if cut <= len(BEFORE) and head.count(LINE) == 1:
            assert left == head.replace(LINE, b"") + BODY


@pytest.mark.parametrize("head", [BEFORE + LINE + BEHIND, BEFORE + LINE + b"\r\n"])
def test_a_body_is_never_touched(head):
    for first in range(1, len(head)):
        for second in range(first, len(head)):
            left = passed_on([head[:first], head[first:second], head[second:] + BODY])
            assert left in (head + BODY, head.replace(LINE, b"") + BODY)


def test_a_head_without_an_offer_is_as_it_was():
    for cut in range(1, len(BEFORE + BEHIND)):
        blocks = [(BEFORE + BEHIND)[:cut], (BEFORE + BEHIND)[cut:] + BODY]
        assert passed_on(blocks) == BEFORE + BEHIND + BODY
