"""Where opencode keeps its sessions on this machine, by opencode's own rules.

The data folder is ``$XDG_DATA_HOME/opencode``, else ``~/.local/share/opencode``, on every platform. In it
lies ``opencode.db``; builds of other channels use ``opencode-<channel>.db``, and ``OPENCODE_DB`` may name
another file (absolute, or relative to the data folder).
"""

import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import SourceNotFound
from .database import Source

DATABASES = "opencode*.db"


def find(path: str | os.PathLike[str] | None = None) -> list[Source]:
    """The databases opencode left on this machine, or those at `path` (a file or a folder), best first.

    Raises:
        SourceNotFound: nothing there; the message names every place that was looked at.
    """
    if path is not None:
        place = Path(path).expanduser()
        if place.is_file():
            return [Source(place)]
        folders = [place, place / "opencode", place / "data"]
        named = None
    else:
        folders = data_folders(os.environ)
        named = _named_database(os.environ, folders[0])
    databases = [named] if named and named.is_file() else []
    for folder in folders:
        databases += (file for file in sorted(folder.glob(DATABASES)) if file.is_file())
    found = {file.resolve(): Source(file) for file in reversed(databases)}
    if not found:
        raise SourceNotFound(_nothing(path, [*([named] if named else []), *folders]))
    return list(reversed(found.values()))


def data_folders(environ: Mapping[str, str]) -> list[Path]:
    """opencode's data folder under this environment (one today; a list because older ones may follow)."""
    root = environ.get("XDG_DATA_HOME")
    return [Path(root) / "opencode" if root else Path.home() / ".local" / "share" / "opencode"]


def _named_database(environ: Mapping[str, str], folder: Path) -> Path | None:
    name = environ.get("OPENCODE_DB")
    return folder / name if name and name != ":memory:" else None


def _nothing(path: str | os.PathLike[str] | None, places: list[Path]) -> str:
    looked = ", ".join(
        f"{place}/{DATABASES}" if place.suffix != ".db" else str(place) for place in places
    )
    if path is not None and not Path(path).expanduser().exists():
        return f"There is no {path}. Give an opencode.db or the folder it is in."
    hint = (
        "Give an opencode.db or the folder it is in"
        if path is not None
        else "Give the path of an opencode.db, or set XDG_DATA_HOME or OPENCODE_DB as opencode sees them"
    )
    return f"No opencode database found. Looked at: {looked}. {hint}."
