"""An entry of an index: the words of a row, by what kind of text they are in."""

from typing import NamedTuple

from .answers import Kind


class Entry(NamedTuple):
    """A row's words: for each kind of text those in order, and the runs that have several."""

    id: str
    session_id: str
    number: int
    words: dict[Kind, tuple[list[str], list[str]]]
