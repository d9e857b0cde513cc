"""opencode's own data, read only: where it is (`find`) and what is in it, as records."""

from .database import Problem, Source
from .find import data_folders, find
from .untouched import SourceChanged

__all__ = ["Problem", "Source", "SourceChanged", "data_folders", "find"]
