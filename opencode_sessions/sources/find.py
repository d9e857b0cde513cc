"""Where opencode keeps its sessions on this machine, by opencode's own rules.

The data folder is ``$XDG_DATA_HOME/opencode``, else ``~/.local/share/opencode``, on every platform.
In it lies ``opencode.db``; builds of other channels use ``opencode-<channel>.db``, and
``OPENCODE_DB`` may name another file (absolute, or relative to the data folder). Versions before
1.2 kept trees of JSON files there, which newer ones leave behind.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import SourceError, SourceNotFound
from .database import Database
from .export import STANDARD_INPUT, JsonFiles, by_format, given_out
from .formats import HINT
from .source import Source
from .storage import StorageTree

DATABASE = "opencode.db"
DATABASES = "opencode*.db"
TREES = ("storage/session/*", "project/*/storage/session")
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
Place = str | os.PathLike[str]


def find(path: Place | Sequence[Place] | None = None) -> list[Source]:
    """What opencode left on this machine, or what is at `path`, the most trusted first.

    Databases come first, the one `OPENCODE_DB` names, `opencode.db`, then those of other channels;
    then the JSON trees of older versions. `path` may be a database, a data folder, a file or folder
    of `opencode export`, of the server's answers or of `run --format json` lines, or "-" for
    standard input; or several of these, in which one thing found twice counts once.

    Raises:
        SourceNotFound: nothing there; the message names every place that was looked at.
        SourceError: a file that cannot be read, or is no such thing.
    """
    if path is None or isinstance(path, str | os.PathLike):
        return _at(path)
    if not path:
        raise SourceNotFound("No path was given.")
    return together(source for place in path for source in _at(place))


def together(sources: Iterable[Source]) -> list[Source]:
    """Sources found at several places, each once, the most trusted first."""
    stores: dict[Path, Database | StorageTree] = {}
    files: list[Path] = []
    given: list[Source] = []
    for source in sources:
        if isinstance(source, Database | StorageTree):
            stores.setdefault(source.path.resolve(), source)
        elif isinstance(source, JsonFiles) and source.given is None:
            files += source.files  # a session's info and its messages may be two of them
        else:
            given.append(source)
    trusted = sorted(stores.values(), key=lambda store: not isinstance(store, Database))
    return [*trusted, *by_format(dict.fromkeys(files)), *given]


def _at(path: Place | None) -> list[Source]:
    if path is None:
        folders = data_folders(os.environ)
        files = _named_databases(os.environ, folders[0])
    else:
        place = Path(path).expanduser()
        if place == STANDARD_INPUT or place.is_file():
            return [_file(place)]
        files, folders = [], [place, place / "opencode", place / "data", place.parent]
        folders = folders if place.name in ("storage", "project") else folders[:-1]
    looked = [*files, *(folder / DATABASES for folder in folders)]
    for folder in folders:
        files += sorted(folder.glob(DATABASES), key=lambda file: (file.name != DATABASE, file.name))
    sources: dict[Path, Source] = {}
    for file in files:
        if file.is_file():
            sources.setdefault(file.resolve(), Database(file))
    for folder in folders:
        if any(any(folder.glob(tree)) for tree in TREES):
            sources.setdefault(folder.resolve(), StorageTree(folder))
    found = list(sources.values())
    if path is not None:
        files = [file for file in folders[0].glob("*") if file.suffix in JSON_SUFFIXES]
        found += by_format(sorted(file for file in files if file.is_file()))
    if not found:
        raise SourceNotFound(_nothing(path, looked))
    return found


def _file(file: Path) -> Source:
    if found := given_out(file):
        return found
    if file.suffix in JSON_SUFFIXES:
        raise SourceError(f"{file} holds nothing that opencode gives out. {HINT}")
    # What is neither is read as a database, whose error says best what is wrong with it.
    return Database(file)


def data_folders(environ: Mapping[str, str]) -> list[Path]:
    """opencode's data folder in this environment (one today; a list, as older ones may follow)."""
    root = environ.get("XDG_DATA_HOME")
    return [Path(root) / "opencode" if root else Path.home() / ".local" / "share" / "opencode"]


def _named_databases(environ: Mapping[str, str], folder: Path) -> list[Path]:
    name = environ.get("OPENCODE_DB")
    return [folder / name] if name and name != ":memory:" else []


def _nothing(path: Place | None, looked: list[Path]) -> str:
    if path is not None and not Path(path).expanduser().exists():
        return f"There is no {path}. Give an opencode.db or the folder it is in."
    hint = (
        "Give an opencode.db or the folder it is in."
        if path is not None
        else "Give the path of an opencode.db, or set XDG_DATA_HOME or OPENCODE_DB as for opencode."
    )
    return f"No opencode database found. Looked at: {', '.join(map(str, looked))}. {hint}"
