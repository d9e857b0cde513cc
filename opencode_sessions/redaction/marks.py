"""Marks in place of secrets: the same for the same one, and no way back."""

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Collection, Sequence

import pandas as pd

from .finding import KINDS, MARK, Finder, Found
from .named import is_random
from .places import ACCOUNTS

PASSES = 4  # what is left of a text may read as something new; then it is looked at again
KNOWN_LETTERS = 8  # of a secret that is looked for in all other texts as well
DIGITS = 8  # of a mark: enough to tell a few thousand secrets apart
USER_LETTERS = 5  # of a user, likewise: shorter names are words of their own
SIGN = re.compile(r"(?:[+ ]|-(?!----[^-]))?[ \t]*")  # of a line in a diff
SECRET_KINDS = {*KINDS[: KINDS.index("email")]}
WHOLE = ("connection", "email", "user", "host")  # how these begin says nothing
BELOW = re.compile(r"[/\\]|%2f", re.I)


class Marks:
    """Replaces secrets in texts; first it has to learn which there are."""

    def __init__(self, names: Collection[str], key: bytes | None = None) -> None:
        self._finder = Finder(names)
        self._key = secrets.token_bytes() if key is None else key
        self._found: dict[str, list[Found]] = {}
        self._clean: set[str] = set()
        self._kinds: dict[str, str] = {}  # of each secret, by what it says
        self._known: list[tuple[str, str]] | None = None  # and how each has to begin
        self._homes: set[str] = (
            set()
        )  # users with something in their folder: `/home/status` is none
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def learn(self, text: str, where: str, named: Sequence[Found] = ()) -> str:
        """Remembers the secrets of a text, and those that what stands around it gives away."""
        if text in self._found and not named:
            return text
        for found in (*self._find(text), *named):
            secret = _essence(found.kind, found.secret)
            known = self._kinds.get(secret, found.kind)
            self._kinds[secret] = min(known, found.kind, key=KINDS.index)
            if found.kind == "user" and BELOW.match(text, found.end):
                self._homes.add(secret)
        self._known = None
        return text

    def replaced(self, text: str, where: str, named: Sequence[Found] = ()) -> str:
        """The text without its secrets."""
        if text in self._clean and not named:
            return text
        parts = [*self._find(text), *named, *self._repeated(text)]
        if not parts:
            self._clean.add(text)
        for _ in range(PASSES):
            merged = _merged(text, parts)
            if not merged:
                break
            text = self._with_marks(text, merged, where)
            parts = [*self._finder.find(text), *self._repeated(text)]
        return text

    def unread(self, value: object, where: str) -> str:
        """A mark for something that nobody can look through."""
        return self.mark("unread", repr(type(value)), where)

    def mark(self, kind: str, what: str, where: str, digits: int = DIGITS) -> str:
        """A mark for something of this kind, counted."""
        digest = hmac.new(self._key, what.encode("utf-8", "surrogatepass"), hashlib.sha256)
        made = f"[{kind}-{digest.hexdigest()[:digits]}]"
        self._counts[kind, made, where] += 1
        return made

    def frame(self) -> pd.DataFrame:
        """What was replaced: a row a kind, mark and place."""
        rows = [(kind, mark, count, where) for (kind, mark, where), count in self._counts.items()]
        columns = ["kind", "mark", "count", "where"]
        frame = pd.DataFrame(sorted(rows), columns=columns)
        return frame.astype({name: "int64" if name == "count" else "str" for name in columns})

    def _find(self, text: str) -> list[Found]:
        if text not in self._found:
            self._found[text] = self._finder.find(text)
        return self._found[text]

    def _repeated(self, text: str) -> list[Found]:
        """Where secrets of other texts stand in this one, also cut off."""
        if self._known is None:
            self._known = [
                (secret, secret if kind in WHOLE else _beginning(secret))
                for secret, kind in self._kinds.items()
                if _is_telling(secret, kind) and (kind != "user" or secret in self._homes)
            ]
        found = []
        for secret, beginning in self._known:
            at = text.find(beginning)
            while at >= 0:
                end = at + len(beginning)
                while end < len(text) and end - at < len(secret) and text[end] == secret[end - at]:
                    end += 1
                if self._kinds[secret] in SECRET_KINDS or _is_word(text, at, end):
                    found.append(Found(at, end, self._kinds[secret], secret))
                at = text.find(beginning, end)
        return found

    def _with_marks(self, text: str, found: list[Found], where: str) -> str:
        pieces, at = [], 0
        for start, end, kind, secret in found:
            secret = _essence(kind, secret)
            mark = self.mark(self._kinds.get(secret, kind), secret, where)
            pieces += [text[at:start], _on_each_line(text[start:end], mark)]
            at = end
        return "".join([*pieces, text[at:]])


def _merged(text: str, found: list[Found]) -> list[Found]:
    """From left to right, overlapping ones as one; without those that are marks already."""
    marks = [mark.span() for mark in MARK.finditer(text)]
    merged: list[Found] = []
    for one in sorted(set(found), key=lambda f: (f.start, -f.end, KINDS.index(f.kind), f.secret)):
        if any(start <= one.start and one.end <= end for start, end in marks):
            continue
        if merged and one.start < merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(merged[-1].end, one.end))
        else:
            merged.append(one)
    return merged


def _on_each_line(secret: str, mark: str) -> str:
    """The mark on each line of what it replaces: a diff keeps its lines and their signs."""
    lines = secret.split("\n")
    return "\n".join([mark, *(SIGN.match(line)[0] + mark for line in lines[1:])])  # type: ignore[index]


def _essence(kind: str, secret: str) -> str:
    """What makes two of them the same: a private key is one in a diff, in JSON, in a file."""
    if kind == "private-key":
        runs = re.findall(r"[A-Za-z0-9+/=]{16,}", secret.replace("\\n", "\n"))
        return "".join(run.lstrip("+") for run in runs)  # of a diff, or of the key: in both
    return secret.strip().casefold() if kind in ("name", "email", "host") else secret.strip()


def _is_telling(secret: str, kind: str) -> bool:
    """Whether a secret means itself wherever it stands."""
    if kind == "user":
        return len(secret) >= USER_LETTERS and secret.casefold() not in ACCOUNTS
    if kind in ("email", "host"):
        return "." in secret and len(secret) >= KNOWN_LETTERS
    return kind in SECRET_KINDS and len(secret) >= KNOWN_LETTERS and is_random(secret)


def _beginning(secret: str) -> str:
    """As much of a random text as is random by itself: `session=` is none."""
    least = max(KNOWN_LETTERS, len(secret) // 4)
    ends = range(least, len(secret))
    return next((secret[:end] for end in ends if is_random(secret[:end])), secret)


def _is_word(text: str, start: int, end: int) -> bool:
    return not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum())
