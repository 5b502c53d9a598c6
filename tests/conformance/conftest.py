"""Every test in this folder names what demands it."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if "conformance" in item.path.parts]
    silent = [item.nodeid for item in here if item.get_closest_marker("cites") is None]
    if silent:
        raise pytest.UsageError("Conformance tests that cite nothing: " + ", ".join(silent))
