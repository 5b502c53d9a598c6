"""Tests that say which sentence of the standard, or of whose practice, they hold the service to."""

from typing import Any

import pytest


def cites(section: str, sentence: str) -> pytest.MarkDecorator:
    """The mark of a test of `sentence` in `section`: `PS3.18 10.6.1`, `RFC 9110 14.2`, a client's name."""
    return pytest.mark.cites(section, sentence)


def row(section: str, sentence: str, *values: Any) -> Any:
    """A row of a table of cases: what is asked and expected, named after what demands it."""
    return pytest.param(*values, id=f"{section}: {sentence}", marks=cites(section, sentence))
