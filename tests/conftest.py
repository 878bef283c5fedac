"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Shapes and types of every call are checked while the tests run, and only then.
install_import_hook("holdfast", "checking.checked")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data and pretrained nets: HOLDFAST_DATA, by default `shared/data` beside the repository.

    Tests that need it are skipped without it, or fail where HOLDFAST_REQUIRE_DATA=1 says that it must be there.
    """
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("HOLDFAST_DATA") or default)
    if not folder.is_dir():
        reason = f"no real data in {folder}: set HOLDFAST_DATA to its folder"
        if os.environ.get("HOLDFAST_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
