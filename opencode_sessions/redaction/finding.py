"""What in a text must not be shown, wherever and however it stands in it."""

import getpass
import platform
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from . import named, places
from .formats import FORMATS, PRIVATE_KEYS
from .views import encoded, views

# Of a secret that several rules find, the kind is the first of these.
KINDS = (
    *("private-key", "connection", "key", "token", "webhook", "password"),
    *("email", "user", "host", "name", "text", "unread"),
)
MARK = re.compile(rf"\[(?:{'|'.join(KINDS)})-[0-9a-f]{{8}}\]")
# What must be in a text, in small letters, for the finders of `named` to be worth a try.
TELLING = (
    *("pass", "pwd", "secret", "token", "key", "auth", "cred", "bearer", "basic", "cookie", "otp"),
    *(
        "code",
        "url",
        "uri",
        "dsn",
        "sig",
        "identified by",
        "login",
        "curl",
        "wget",
        "http ",
        "-p",
        ":*:",
    ),
)
SIGNS = re.compile(r"^[+-](?![+-])", re.M)
NEEDED = re.compile("|".join(re.escape(n) for f in FORMATS for n in f.needs if len(n) > 1))
SHORT = 32  # letters of a text in which one search says whether any format is worth a try
LEAST_NAME = 4  # letters of a name that is also found within a longer word


class Found(NamedTuple):
    """A part of a text that must not be shown, what it is, and what it says once unwrapped."""

    start: int
    end: int
    kind: str
    secret: str


class Finder:
    """Finds secrets, and the names it was given."""

    def __init__(self, names: Collection[str] = ()) -> None:
        self._names = _any_of([*each_name(names), *_own_names()])

    def find(self, text: str) -> list[Found]:
        """All of them, in every view of the text; they may overlap."""
        found: list[Found] = []
        for view in views(text):
            for kind, start, end in self._whole(view.text):
                found.append(Found(*view.back(start, end), kind, view.text[start:end]))
            for start, end, inner in encoded(view.text):
                for kind, left, right in self._plain(inner):
                    found.append(Found(*view.back(start, end), kind, inner[left:right]))
        return found

    def _whole(self, text: str) -> Iterator[tuple[str, int, int]]:
        """What is in a text; and in it as lines of a diff, whose signs are none of its own."""
        yield from self._plain(text)
        unsigned = SIGNS.sub(" ", text)
        if unsigned != text:
            yield from self._plain(unsigned)

    def _plain(self, text: str) -> Iterator[tuple[str, int, int]]:
        for format in FORMATS if len(text) > SHORT or NEEDED.search(text) else ():
            if any(need in text for need in format.needs):
                for found in format.pattern.finditer(text):
                    yield (format.kind, *found.span())
        if "PRIVATE KEY" in text or "Private-Lines" in text:
            for format in PRIVATE_KEYS:
                for found in format.pattern.finditer(text):
                    yield (format.kind, *found.span())
        small = _small(text)
        if any(word in small for word in TELLING):
            yield from named.values(text, small)
        yield from places.places(text, small)
        if self._names is not None:
            for found in self._names.finditer(text):
                yield ("name", *found.span())


def each_name(names: Collection[str]) -> Collection[str]:
    """The names that were given; a text is one name, not its letters."""
    return (names,) if isinstance(names, str) else names


def _any_of(names: Collection[str]) -> re.Pattern[str] | None:
    """A pattern of any of these names, however their words are joined: Ana Nowak is ana-nowak."""
    patterns = []
    for name in sorted({name.strip() for name in names if name.strip()}, key=len, reverse=True):
        words = [re.escape(word) for word in re.split(r"[\s_.-]+", name) if word]
        pattern = r"[\s_.+-]{0,2}".join(words) or re.escape(name)
        if len(name) < LEAST_NAME:
            pattern = rf"(?<![a-zA-Z]){pattern}(?![a-z])"
        patterns.append(pattern)
    return re.compile("|".join(patterns), re.IGNORECASE) if patterns else None


def _small(text: str) -> str:
    """The text in small letters, each in the place where it was."""
    small = text.lower()
    if len(small) == len(text):
        return small
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)


def _own_names() -> Iterator[str]:
    """This machine's name and who works on it, where they say something."""
    host = platform.node().partition(".")[0]
    if len(host) > LEAST_NAME and host.casefold() not in places.ACCOUNTS | {"localhost"}:
        yield host
    try:
        user = getpass.getuser()
    except OSError:  # nobody with a name
        return
    if len(user) > LEAST_NAME and user.casefold() not in places.ACCOUNTS:
        yield user
