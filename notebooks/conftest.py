"""`pytest --nbmake notebooks` runs them on the recording alone, whatever is on this machine."""

import os
import tempfile
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Gives the kernels an empty data folder and a database that is gone afterwards."""
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    os.environ.pop("OPENCODE_DB", None)
    os.environ["XDG_DATA_HOME"] = str(Path(folder.name) / "data")
    os.environ["OPENCODE_SESSIONS_DB"] = str(Path(folder.name) / "sessions.db")
