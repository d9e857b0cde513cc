"""A change as HTML: a unified diff, the text that was written, or what an edit asked for in vain.

`read_lines` says what each line of the text is, `diff_html` shows them, with the changed words
marked and the code in its colours. A line is shown, counted as hidden, one of the four file headers
a diff begins with, which the explorer's heading replaces, or the same as one that stands for both.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from ..shown import escaped
from . import colours

Kind = Literal["diff", "content", "new file", "new text"]
Mark = Literal["+", "-", " ", "@", "\\"]
Range = tuple[int, int]  # of characters of a line

LINES_SHOWN = 400  # more is slow to lay out and nobody reads it here
WIDTH_SHOWN = 2_000  # characters of a line: minified code is one line of a megabyte
WORDS_COMPARED = 300  # words of a line: finding the changed ones takes time squared
LINES_COMPARED = 1_000  # of an edit that failed: the same
ALIKE = 0.4  # of two lines' words, above which marking the changed ones helps

HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
FILE_HEADER = re.compile(r"Index: |={40,}$|--- |\+\+\+ ")
WORD = re.compile(r"\w+|\s+|.", re.DOTALL)
CLASSES = {"+": "add", "-": "del", " ": "same", "@": "hunk", "\\": "hunk"}
SIGNS = {"+": "+", "-": "\N{MINUS SIGN}"}
NAMES = {"+": "added", "-": "removed"}


class Line(NamedTuple):
    """One line of a change: its mark, its number before and after, its text without the mark."""

    mark: Mark
    old: int | None
    new: int | None
    text: str


def diff_html(
    text: str, kind: Kind = "diff", limit: int = LINES_SHOWN, path: str | None = None
) -> str:
    """The change as an HTML table (class `ocs-diff`), at most `limit` lines of it.

    `path` is the file's: its name says how to colour the code.
    """
    lines = read_lines(text, kind)
    shown, hidden = lines[:limit], lines[limit:]
    rows = [_row(line, inner) for line, inner in zip(shown, _inner(shown, path), strict=True)]
    if hidden:
        added, removed = (sum(line.mark == mark for line in hidden) for mark in "+-")
        rows.append(
            f"<tr class='hunk'><td colspan='4'>{len(hidden):,} more lines are not shown"
            f"{f', {added:,} added' if added else ''}{f', {removed:,} removed' if removed else ''}"
            "</td></tr>"
        )
    return f"<table class='ocs-diff'>{''.join(rows)}</table>"


def has_hunks(text: str) -> bool:
    """Whether a line of the text is a hunk header with line numbers."""
    return any(HUNK.match(line) for line in text.split("\n"))


def has_marks(text: str) -> bool:
    """Whether every line of the text begins as a line of a diff does, and some line is a change."""
    lines = [line for line in text.split("\n") if line]
    return all(line[0] in "+-@ \\" for line in lines) and any(line[0] in "+-" for line in lines)


def read_lines(text: str, kind: Kind = "diff") -> list[Line]:
    """What each line of a change is.

    A diff without hunk headers (an edit that failed has no place) gives lines without numbers; what
    is in both its old lines and its new ones is one line that stays.
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    if kind == "content":
        return [Line(" ", None, number, line) for number, line in enumerate(lines, 1)]
    if kind == "new file":
        return [Line("+", None, number, line) for number, line in enumerate(lines, 1)]
    if kind == "new text":  # of an edit, who knows where
        return [Line("+", None, None, line) for line in lines]
    if has_hunks(text):
        return list(_unified(lines))
    return list(_unnumbered([_line(line) for line in lines]))


def _unified(lines: Sequence[str]) -> Iterator[Line]:
    """By the counts of the hunk headers: within a hunk, "--- x" is a removed line and no header."""
    old = new = old_left = new_left = 0
    seen_hunk = False
    for line in lines:
        if old_left <= 0 and new_left <= 0:
            if header := HUNK.match(line):
                old, new = int(header[1]), int(header[3])
                old_left, new_left = int(header[2] or 1), int(header[4] or 1)
                seen_hunk = True
                yield Line("@", None, None, line)
            elif line.startswith("\\"):
                yield Line("\\", None, None, line)
            elif seen_hunk or not FILE_HEADER.match(line):
                yield Line(" ", None, None, line)
        elif line.startswith("+"):
            yield Line("+", None, new, line[1:])
            new, new_left = new + 1, new_left - 1
        elif line.startswith("-"):
            yield Line("-", old, None, line[1:])
            old, old_left = old + 1, old_left - 1
        elif line.startswith("\\"):
            yield Line("\\", None, None, line)
        else:
            yield Line(" ", old, new, line[1:] if line.startswith(" ") else line)
            old, old_left, new, new_left = old + 1, old_left - 1, new + 1, new_left - 1


def _unnumbered(lines: Sequence[Line]) -> Iterator[Line]:
    """An edit that failed has all its old lines, then all its new ones: each in its place."""
    start = 0
    while start < len(lines):
        middle = _end_of_run(lines, start, "-")
        end = _end_of_run(lines, middle, "+")
        yield from _in_place(lines[start:middle], lines[middle:end])
        if end == start:
            yield lines[start]
        start = max(end, start + 1)


def _in_place(removed: Sequence[Line], added: Sequence[Line]) -> Iterator[Line]:
    if max(len(removed), len(added)) > LINES_COMPARED:
        yield from (*removed, *added)
        return
    before, after = ([line.text for line in lines] for lines in (removed, added))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for what, i, j, k, m in matcher.get_opcodes():
        if what == "equal":
            yield from (line._replace(mark=" ") for line in added[k:m])
        else:
            yield from (*removed[i:j], *added[k:m])


def _line(line: str) -> Line:
    if line.startswith("@@"):
        return Line("@", None, None, line)
    if line.startswith("+"):
        return Line("+", None, None, line[1:])
    if line.startswith("-"):
        return Line("-", None, None, line[1:])
    return Line(" ", None, None, line[1:] if line.startswith(" ") else line)


def _inner(lines: Sequence[Line], path: str | None) -> Iterator[str]:
    """The HTML of each line's text; a line that replaces another has the changed words marked."""
    changed: dict[int, list[Range]] = {}
    start = 0
    while start < len(lines):
        middle = _end_of_run(lines, start, "-")
        end = _end_of_run(lines, middle, "+")
        for removed, added in zip(range(start, middle), range(middle, end), strict=False):
            if pair := _changed_words(lines[removed].text, lines[added].text):
                changed[removed], changed[added] = pair
        start = max(end, start + 1)
    for number, (line, spans) in enumerate(zip(lines, _colours(lines, path), strict=True)):
        yield _marked(line, changed.get(number, ()), spans)


def _colours(lines: Sequence[Line], path: str | None) -> list[list[colours.Span]]:
    """Each line's colours: the old and the new text are read apart, as each was a file."""
    found: list[list[colours.Span]] = [[] for _ in lines]
    for other in "+-":  # what both texts have is read with the new one last
        places = [n for n, line in enumerate(lines) if line.mark not in (other, "@", "\\")]
        texts = [lines[n].text[:WIDTH_SHOWN] for n in places]
        for place, spans in zip(places, colours.spans(texts, path), strict=True):
            found[place] = spans
    return found


def _end_of_run(lines: Sequence[Line], start: int, mark: Mark) -> int:
    while start < len(lines) and lines[start].mark == mark:
        start += 1
    return start


def _changed_words(old: str, new: str) -> tuple[list[Range], list[Range]] | None:
    """What of both lines differs; None where they have little in common."""
    if len(old) > WIDTH_SHOWN or len(new) > WIDTH_SHOWN:
        return None
    before, after = WORD.findall(old), WORD.findall(new)
    if not 0 < max(len(before), len(after)) <= WORDS_COMPARED:
        return None
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < ALIKE:
        return None
    left = list(accumulate(map(len, before), initial=0))
    right = list(accumulate(map(len, after), initial=0))
    changes = [codes for what, *codes in matcher.get_opcodes() if what != "equal"]
    return (
        [(left[i], left[j]) for i, j, _, _ in changes if i < j],
        [(right[k], right[m]) for _, _, k, m in changes if k < m],
    )


def _marked(line: Line, changed: Sequence[Range], spans: Sequence[colours.Span]) -> str:
    """The line with its changed words in <ins> or <del>, and within them its colours."""
    text, tag = line.text[:WIDTH_SHOWN], "ins" if line.mark == "+" else "del"
    html, at = "", 0
    for start, end in changed:
        inner = _coloured(text, start, end, spans)
        html += f"{_coloured(text, at, start, spans)}<{tag}>{inner}</{tag}>"
        at = end
    html += _coloured(text, at, len(text), spans)
    more = len(line.text) - len(text)
    return f"{html} … {more:,} characters more" if more else html


def _coloured(text: str, start: int, end: int, spans: Sequence[colours.Span]) -> str:
    """The HTML of text[start:end]."""
    html, at = "", start
    for left, right, colour in spans:
        left, right = max(left, at), min(right, end)
        if left < right:
            html += f"{_escaped(text[at:left])}<span class='ocs-{colour}'>"
            html += f"{_escaped(text[left:right])}</span>"
            at = right
    return html + _escaped(text[at:end])


def _escaped(text: str) -> str:
    return escaped(text, keep="\t")


def _row(line: Line, inner: str) -> str:
    sign = SIGNS.get(line.mark, "")
    label = f" aria-label='{NAMES[line.mark]}'" if sign else ""
    # <pre>: nbconvert's page keeps no indentation before a tag anywhere else.
    return (
        f"<tr class='{CLASSES[line.mark]}'><td class='n'>{line.old or ''}</td>"
        f"<td class='n'>{line.new or ''}</td><td class='m'{label}>{sign}</td>"
        f"<td class='t'><pre>{inner}</pre></td></tr>"
    )
