"""The syntax colours of lines of code: which characters are a keyword, a string, a comment.

Pygments reads the lines as the file's name says; the colours themselves are the notebook editor's
own, in both themes (see `static/explorer.css`).
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pygments.lexer import Lexer

LETTERS_READ = 60_000  # more takes longer than looking at it, and a crafted text much longer
# A kind of token and all below it, the first that fits; the class is `ocs-` and this letter.
CLASSES = (
    ("Token.Keyword.Constant", "a"),
    ("Token.Keyword", "k"),
    ("Token.Operator.Word", "k"),
    ("Token.Name.Builtin", "b"),
    ("Token.Name.Function", "d"),
    ("Token.Name.Class", "d"),
    ("Token.Name.Decorator", "d"),
    ("Token.Name.Tag", "t"),
    ("Token.Name.Attribute", "d"),
    ("Token.Literal.String", "s"),
    ("Token.Literal.Number", "n"),
    ("Token.Comment", "c"),
    ("Token.Generic.Heading", "h"),
    ("Token.Generic.Subheading", "h"),
)


class Span(NamedTuple):
    """Characters of a line that share a colour."""

    start: int
    end: int
    colour: str


def spans(lines: Sequence[str], path: str | None) -> list[list[Span]]:
    """The coloured spans of each line, from left to right; none for a file of no known language."""
    found: list[list[Span]] = [[] for _ in lines]
    text = "\n".join(lines)
    lexer = None if path is None or len(text) > LETTERS_READ else _lexer(path)
    if lexer is None:
        return found
    starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
    for at, kind, value in lexer.get_tokens_unprocessed(text):
        if (colour := _colour(str(kind))) is None:
            continue
        row = bisect_right(starts, at) - 1
        left = at - starts[row]
        for piece in value.split("\n"):
            if piece:
                _add(found[row], Span(left, left + len(piece), colour))
            row, left = row + 1, 0
    return found


def _add(spans: list[Span], span: Span) -> None:
    """Adds a span, or makes the last one longer."""
    if spans and spans[-1].end == span.start and spans[-1].colour == span.colour:
        spans[-1] = spans[-1]._replace(end=span.end)
    else:
        spans.append(span)


@lru_cache(256)
def _lexer(path: str) -> "Lexer | None":
    from pygments.lexers import get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        return get_lexer_for_filename(path.rpartition("/")[2])
    except ClassNotFound:
        return None


@lru_cache(512)
def _colour(kind: str) -> str | None:
    return next((c for name, c in CLASSES if kind == name or kind.startswith(name + ".")), None)
