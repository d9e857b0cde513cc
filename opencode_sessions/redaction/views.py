"""A text as it reads once what it is wrapped in is taken off, and the way back to its letters.

Secrets stand in JSON within JSON, in links, in coloured terminal output. Each is taken off in turn
and looked at by itself; what is found there is replaced where it really stands.
"""

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

DEPTH = 4  # JSON in JSON in a link in a terminal; deeper, nobody meant to show it
LONGEST_RUN = 100_000  # letters of base64 that are read

WRAPPED = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # terminal colours, ECMA-48
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # terminal titles and links
    r"|[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]+"  # takes no room
    r"|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\[\"'\\/bfnrt]"
    r"|(?:%[0-9a-fA-F]{2})+"
    r"|&(?:amp|lt|gt|quot|apos|#\d{2,3}|#x[0-9a-fA-F]{2});"
)
SIGNS = ("\x1b", "\\", "%", "&", "\u00ad", "\u200b", "\u2060", "\ufeff")
LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
BASE64 = (
    re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{16,}={0,2}"),
    re.compile(
        r"(?:^|(?<=[\s\"']))(?:[A-Za-z0-9+/]{60,}\r?\n){1,2000}[A-Za-z0-9+/]+={0,2}"
    ),  # in lines
)

Back = Callable[[int, int], tuple[int, int]]


class View(NamedTuple):
    """A text, and where a part of it stands in the one it is a view of."""

    text: str
    back: Back


def views(text: str) -> Iterator[View]:
    """The text itself, then with one layer more taken off each time."""
    view = View(text, lambda start, end: (start, end))
    yield view
    for _ in range(DEPTH):
        if text.isascii() and not any(sign in view.text for sign in SIGNS[:4]):
            return
        inner = _unwrapped(view)
        if inner is None:
            return
        view = inner
        yield view


def encoded(text: str) -> Iterator[tuple[int, int, str]]:
    """Each run of base64 that holds readable text: where it stands, and the text."""
    for found in (found for pattern in BASE64 for found in pattern.finditer(text)):
        run = found[0]
        if len(run) <= LONGEST_RUN and (inner := _decoded(run)) is not None:
            yield found.start(), found.end(), inner


def _decoded(run: str) -> str | None:
    letters = "".join(run.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(letters + "=" * (-len(letters) % 4))
    except binascii.Error:
        return None
    if raw[1:2] == b"\0":  # as Windows encodes commands
        raw = raw.replace(b"\0", b"")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    readable = sum(character.isprintable() or character in "\r\n\t" for character in text)
    return text if text and readable == len(text) else None


def _unwrapped(view: View) -> View | None:
    """One layer less; None where there is none."""
    pieces: list[str] = []
    starts: list[int] = []  # of each piece, in the new text
    places: list[tuple[int, int, bool]] = []  # in the old: start, end, and whether letter by letter
    length = at = 0
    for found in WRAPPED.finditer(view.text):
        if (plain := _plain(found[0])) is None:
            continue
        start, end = found.span()
        for piece, place in (
            (view.text[at:start], (at, start, True)),
            (plain, (start, end, False)),
        ):
            if piece:
                pieces.append(piece)
                starts.append(length)
                places.append(place)
                length += len(piece)
        at = end
    if not at:
        return None
    pieces.append(view.text[at:])
    starts.append(length)
    places.append((at, len(view.text), True))

    def back(start: int, end: int) -> tuple[int, int]:
        first = bisect_right(starts, start) - 1
        last = bisect_right(starts, end - 1) - 1
        left, _, is_plain = places[first]
        start = left + (start - starts[first] if is_plain else 0)
        left, right, is_plain = places[last]
        end = left + (end - starts[last]) if is_plain else right
        return view.back(start, end)

    return View("".join(pieces), back)


def _plain(wrapped: str) -> str | None:
    """What stands for what; None if for nothing."""
    if wrapped[0] == "\\":
        if wrapped[1] in "ux":
            return chr(int(wrapped[2:], 16))
        return LETTERS.get(wrapped[1], wrapped[1])
    if wrapped[0] == "%":
        try:
            return bytes.fromhex(wrapped.replace("%", "")).decode("utf-8")
        except UnicodeDecodeError:
            return None
    if wrapped[0] == "&":
        name = wrapped[1:-1]
        if name[0] == "#":
            return chr(int(name[2:], 16) if name[1] == "x" else int(name[1:]))
        return NAMED[name]
    return ""
