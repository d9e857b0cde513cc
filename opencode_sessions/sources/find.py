"""Where opencode keeps its sessions on this machine, by opencode's own rules.

The data folder is ``$XDG_DATA_HOME/opencode``, else ``~/.local/share/opencode``, on every platform.
In it lies ``opencode.db``; builds of other channels use ``opencode-<channel>.db``, and
``OPENCODE_DB`` may name another file (absolute, or relative to the data folder).
"""

import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import SourceNotFound
from .database import Source

DATABASE = "opencode.db"
DATABASES = "opencode*.db"


def find(path: str | os.PathLike[str] | None = None) -> list[Source]:
    """The databases opencode left on this machine, or those at `path` (a file or a folder).

    The one that `OPENCODE_DB` names comes first, then `opencode.db`, then those of other channels.

    Raises:
        SourceNotFound: nothing there; the message names every place that was looked at.
    """
    if path is not None:
        place = Path(path).expanduser()
        if place.is_file():
            return [Source(place)]
        files, folders = [], [place, place / "opencode", place / "data"]
    else:
        folders = data_folders(os.environ)
        files = _named_databases(os.environ, folders[0])
    looked = [*files, *(folder / DATABASES for folder in folders)]
    for folder in folders:
        files += sorted(folder.glob(DATABASES), key=lambda file: (file.name != DATABASE, file.name))
    found: dict[Path, Source] = {}
    for file in files:
        if file.is_file():
            found.setdefault(file.resolve(), Source(file))
    if not found:
        raise SourceNotFound(_nothing(path, looked))
    return list(found.values())


def data_folders(environ: Mapping[str, str]) -> list[Path]:
    """opencode's data folder in this environment (one today; a list, as older ones may follow)."""
    root = environ.get("XDG_DATA_HOME")
    return [Path(root) / "opencode" if root else Path.home() / ".local" / "share" / "opencode"]


def _named_databases(environ: Mapping[str, str], folder: Path) -> list[Path]:
    name = environ.get("OPENCODE_DB")
    return [folder / name] if name and name != ":memory:" else []


def _nothing(path: str | os.PathLike[str] | None, looked: list[Path]) -> str:
    if path is not None and not Path(path).expanduser().exists():
        return f"There is no {path}. Give an opencode.db or the folder it is in."
    hint = (
        "Give an opencode.db or the folder it is in."
        if path is not None
        else "Give the path of an opencode.db, or set XDG_DATA_HOME or OPENCODE_DB as for opencode."
    )
    return f"No opencode database found. Looked at: {', '.join(map(str, looked))}. {hint}"
