"""What an agent typed, made harmless to show.

Besides HTML, a title or a line of code may hold characters that hide or reorder what stands around
them (a right-to-left override makes `exe.txt` of `txt.exe`): each is shown as a sign of its own.
"""

import html
import unicodedata

DELETE = 0x7F
HIDING = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # control, format (bidi, zero width), surrogates, separators


def visible(text: str, keep: str = "") -> str:
    """Text with every control and bidi character as a visible sign, but for those in `keep`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or not _hides(c) else _sign(c) for c in text)


def escaped(text: str, keep: str = "") -> str:
    """`visible(text)` for HTML, in text and in quoted attributes."""
    return html.escape(visible(text, keep))


def _hides(character: str) -> bool:
    return unicodedata.category(character) in HIDING


def _sign(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # ␀ to ␟
    return "␡" if code == DELETE else f"⟨U+{code:04X}⟩"
