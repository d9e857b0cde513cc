"""What an agent typed, made harmless to show.

Besides HTML, a title or a line of code may hold characters that hide or reorder what stands around
them (a right-to-left override makes `exe.txt` of `txt.exe`), or that pile up over the lines above:
each is shown as a sign of its own.
"""

import html
import unicodedata
from collections.abc import Iterable

DELETE = 0x7F
HIDING = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # control, format (bidi, zero width), surrogates, separators
PILED = 4  # marks on one letter: no script needs more, and each makes it higher


def visible(text: str, keep: str = "") -> str:
    """Text with every control and bidi character as a visible sign, but for those in `keep`."""
    if text.isascii() and text.isprintable():
        return text
    shown, marks = [], 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        hides = category in HIDING and character not in keep
        shown.append(_sign(character) if hides or marks > PILED else character)
    return "".join(shown)


def escaped(text: str, keep: str = "") -> str:
    """`visible(text)` for HTML, in text and in quoted attributes."""
    return html.escape(visible(text, keep))


def escaped_lines(text: str) -> str:
    """`escaped(text)` that keeps its lines and tabs."""
    return escaped(text, keep="\n\t")


def cut(text: str, letters: int, lines: int) -> tuple[str, str]:
    """The beginning of a text, and a note of how much is left out ("" if nothing is)."""
    rows = text[:letters].split("\n")
    shown = "\n".join(rows[:lines])
    left = len(text) - len(shown)
    return shown, f"… {left:,} more characters are not shown" if left else ""


def number_of(count: int, what: str) -> str:
    """A number of things, in words: 1 event, 2 events."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def fields_html(heading: str, fields: Iterable[tuple[str, str]]) -> str:
    """A heading and a table of names and values; what is in them is text."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escaped(name)}</th>"
        f"<td style='text-align:left;white-space:pre-wrap;overflow-wrap:anywhere'>"
        f"{escaped_lines(value)}</td></tr>"
        for name, value in fields
    )
    return f"<p><b>{escaped(heading)}</b></p><table>{rows}</table>"


def _sign(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # ␀ to ␟
    return "␡" if code == DELETE else f"⟨U+{code:04X}⟩"
