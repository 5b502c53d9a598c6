"""What every test may ask for."""

import csv
from pathlib import Path

import pytest

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real files that nobody here made."""
    if not (REAL_DATA / "MANIFEST.csv").exists():
        pytest.skip("The real files are not beside this checkout (../shared/data).")
    return REAL_DATA


@pytest.fixture(scope="session")
def manifest(real_data) -> list[dict[str, str]]:
    """A row for each real file."""
    with (real_data / "MANIFEST.csv").open(newline="") as file:
        return list(csv.DictReader(file))
