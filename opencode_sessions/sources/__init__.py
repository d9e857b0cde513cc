"""opencode's own data, read only: where it is (`find`) and what is in it, as records."""

from .database import Database
from .export import JsonFiles
from .find import Place, data_folders, find, together
from .source import WITH_SNAPSHOTS, Item, Problem, Source, Untold, is_wanted, unforeseen
from .storage import StorageTree
from .untouched import SourceChanged

__all__ = [
    "WITH_SNAPSHOTS",
    "Database",
    "Item",
    "JsonFiles",
    "Place",
    "Problem",
    "Source",
    "SourceChanged",
    "StorageTree",
    "Untold",
    "data_folders",
    "find",
    "is_wanted",
    "together",
    "unforeseen",
]
