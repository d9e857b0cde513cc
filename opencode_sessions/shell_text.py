"""The text of a shell command as the simple commands in it: words, redirects, operators.

Quotes, here-documents and substitutions are followed as a shell would; a word that only the shell
could know is one without a text. A model wrote it: what cannot be followed is `NotUnderstood`, and
the time it takes grows with the length of the text.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple


class NotUnderstood(Exception):
    """The rest of the text cannot be read."""


class Word(NamedTuple):
    """A word; `text` is None where only the shell could say what it is."""

    text: str | None
    has_substitution: bool = False


class Redirect(NamedTuple):
    """Where a stream goes: `>`, `>>` and the like, and the word after it."""

    mark: str
    target: Word


class Simple(NamedTuple):
    """One simple command, with the operator before it."""

    operator: str
    words: list[Word]
    redirects: list[Redirect]


TOKEN = re.compile(
    r"(?P<space>[ \t\r]+|\\\r?\n)"
    r"|(?P<comment>\#[^\n]*)"
    r"|(?P<heredoc>\d*<<-?(?!<))"
    r"|(?P<redirect>&>>|&>|\d*(?:>>|>\||>&|<&|<>|<<<|>(?!\()|<(?!\()))"
    r"|(?P<operator>\n|&&|\|\||;;|;|\|&|\||&|\(|\))"
)
PIECE = re.compile(
    r"(?P<plain>[^\s'\"\\$`;&|<>()*?\[\]{}]+)"
    r"|'(?P<single>[^']*)'"
    r'|"(?P<double>[^"\\$`]*)"'
    r"|\\(?P<escaped>.)"
    r"|(?P<variable>\$(?:\w+|\{[^}'\"`$]*\}|[@*\#?$!-]))"
    r"|(?P<glob>[*?\[\]{}])"
    r"|(?P<dollar>\$(?![('\"{]))",
    re.DOTALL,
)
IN_QUOTES = re.compile(r'[^"\\$`]+|\\.|\$(?!\()|(?P<open>\$\()|(?P<tick>`)|(?P<end>")', re.DOTALL)
IN_PARENTHESES = re.compile(r"\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\"|(?P<open>\()|(?P<close>\))|[^()]")
BRACKETS = ("[", "]", "[[", "]]")


def simple_commands(text: str) -> Iterator[Simple]:
    """The simple commands of the text, in order."""
    position, operator = 0, ";"
    words: list[Word] = []
    redirects: list[Redirect] = []
    mark: str | None = None
    heredocs: list[tuple[str, bool]] = []
    while position < len(text):
        token = TOKEN.match(text, position)
        if token is None:
            start = position
            word, position = _word(text, position)
            if mark in ("<<", "<<-"):
                heredocs.append((word.text or "", _is_quoted(text[start:position])))
                mark = None
            elif mark is not None:
                redirects.append(Redirect(mark, word))
                mark = None
            else:
                words.append(word)
            continue
        position = token.end()
        if token["redirect"] or token["heredoc"]:
            mark = token[0].lstrip("0123456789")
        elif token["operator"]:
            mark = None
            yield Simple(operator, words, redirects)
            operator, words, redirects = token["operator"], [], []
            if operator == "\n" and heredocs:
                position = _after_heredocs(text, position, heredocs)
                heredocs = []
    yield Simple(operator, words, redirects)


def _word(text: str, position: int) -> tuple[Word, int]:
    pieces: list[str] = []
    start, is_known, has_substitution = position, True, False
    while position < len(text):
        piece = PIECE.match(text, position)
        if piece is None:
            end = _substitution(text, position)
            if end is None:
                break
            position, is_known, has_substitution = end[0], False, has_substitution or end[1]
            continue
        position = piece.end()
        kind = piece.lastgroup
        if kind == "plain":
            is_known = is_known and not (piece.start() == start and piece[0].startswith("~"))
            pieces.append(piece[0])
        elif kind in ("single", "double"):
            pieces.append(piece[kind])
        elif kind == "escaped":
            pieces.append(piece["escaped"].replace("\n", ""))
        elif kind == "variable":
            is_known = False
        else:
            pieces.append(piece[0])
            is_known = is_known and piece[0] in "{}$"
    if position == start:
        raise NotUnderstood
    raw = text[start:position]
    if raw in BRACKETS:
        return Word(raw), position
    if "{" in raw and "}" in raw and ("," in raw or ".." in raw):
        is_known = False  # {a,b} or {1..9}: several words
    return Word("".join(pieces) if is_known else None, has_substitution), position


def _substitution(text: str, position: int) -> tuple[int, bool] | None:
    """Where the quoted text, substitution or expansion that begins here ends, and if it runs."""
    if text.startswith('"', position):
        position, runs = position + 1, False
        while inside := IN_QUOTES.match(text, position):
            position = inside.end()
            if inside["end"]:
                return position, runs
            if inside["open"]:
                position, runs = _closed(text, position), True
            elif inside["tick"]:
                position, runs = _ticked(text, position), True
        raise NotUnderstood
    if text.startswith(("$(", "<(", ">("), position):
        return _closed(text, position + 2), True
    if text.startswith("`", position):
        return _ticked(text, position + 1), True
    if text.startswith(("$'", '$"'), position):
        end = text.find(text[position + 1], position + 2)
        if end >= 0:
            return end + 1, True
        raise NotUnderstood
    if text.startswith(("'", '"', "$", "\\"), position):
        raise NotUnderstood
    return None


def _closed(text: str, position: int) -> int:
    depth = 1
    while inside := IN_PARENTHESES.match(text, position):
        position = inside.end()
        depth += bool(inside["open"]) - bool(inside["close"])
        if depth == 0:
            return position
    raise NotUnderstood


def _ticked(text: str, position: int) -> int:
    end = text.find("`", position)
    if end < 0:
        raise NotUnderstood
    return end + 1


def _after_heredocs(text: str, position: int, heredocs: list[tuple[str, bool]]) -> int:
    for delimiter, is_quoted in heredocs:
        end = re.compile(rf"^\t*{re.escape(delimiter)}$", re.MULTILINE).search(text, position)
        body_end = end.start() if end else len(text)
        if not is_quoted and re.compile(r"\$\(|`").search(text, position, body_end):
            raise NotUnderstood
        position = end.end() if end else len(text)
    return position


def _is_quoted(raw: str) -> bool:
    return any(mark in raw for mark in "'\"\\")
