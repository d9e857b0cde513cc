"""`pytest --nbmake notebooks` runs them on the recording alone, whatever is on this machine."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

HAS_JAVA = shutil.which("java") is not None
collect_ignore = [] if HAS_JAVA else ["06_fleet.ipynb"]


def pytest_report_header() -> str:
    """Says what is left out, and why."""
    return "06_fleet.ipynb: runs" if HAS_JAVA else "06_fleet.ipynb: left out, Spark needs Java"


def pytest_configure(config: pytest.Config) -> None:
    """Gives the kernels an empty data folder and a database that is gone afterwards."""
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    os.environ.pop("OPENCODE_DB", None)
    os.environ["XDG_DATA_HOME"] = str(Path(folder.name) / "data")
    os.environ["OPENCODE_SESSIONS_DB"] = str(Path(folder.name) / "sessions.db")
