"""Words of code and prose, and what somebody looks for among them.

`parse_config`, `parseConfig` and `parse config` are the words parse and config, `src/a.py` is src,
a and py: so each is found as it is written and in parts. A run of letters that has several words is
also a word as a whole, `parseconfig`. Upper and lower case are the same.

What is asked for is words as well: those written together follow each other, the last one of three
letters or more may go on, and each text has to have all of them. Nothing in it is syntax, but
double quotes hold words together.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

WORD = re.compile(r"[A-Z]+(?=[A-Z][^\WA-Z\d_])|[A-Z]?[^\WA-Z_]+|[A-Z]+\d*")
RUN = re.compile(r"[^\W_]+")
TOGETHER = re.compile(r'"([^"]*)"?|([^\s"]+)')
LONGEST = 100_000  # letters of a text that are looked at
MOST = 16_000  # words of a text: PostgreSQL knows places up to 16,383
LONGEST_WORD = 100
NAMES = 50_000  # of code, whose words are remembered
PHRASES, PHRASE = 20, 40  # of a query: more is no question
GOES_ON = 3  # letters from which on a word may be the beginning of one
BEFORE, AFTER = 40, 80  # letters around what was found


class Asked(NamedTuple):
    """What to look for: words that follow each other, several times."""

    phrases: tuple[tuple[str, ...], ...]

    @property
    def is_nothing(self) -> bool:
        """Whether no word was asked for."""
        return not self.phrases


def goes_on(phrase: Sequence[str]) -> bool:
    """Whether the last word of a phrase may be the beginning of one."""
    return len(phrase[-1]) >= GOES_ON


def asked(text: str) -> Asked:
    """What a text asks for; any text asks for something or nothing, none is wrong."""
    together = (quoted or alone for quoted, alone in TOGETHER.findall(text[:LONGEST]))
    phrases = (tuple(word for word, _, _ in _words(one))[:PHRASE] for one in together)
    return Asked(tuple(dict.fromkeys(phrase for phrase in phrases if phrase))[:PHRASES])


def words(text: str) -> tuple[list[str], list[str]]:
    """The words of a text in order, and the runs that have several of them, each once.

    Made for an index of a million rows: most runs are one word in small letters, and the others,
    the names of a project, come again and again.
    """
    found: list[str] = []
    several: set[str] = set()
    for run in RUN.findall(text[:LONGEST]):
        if run.islower() or run.isdigit():
            found.append(run[:LONGEST_WORD])
        elif len(run) > LONGEST_WORD:
            found += _split.__wrapped__(run)
        else:
            found += (own := _split(run))
            if len(own) > 1:
                several.add(run.lower())
    return found[:MOST], sorted(several)


def snippet(question: Asked, text: str) -> str | None:
    """The place in a text that answers, on one line; None if it does not."""
    lowered = text[:LONGEST].lower()
    if any(word not in lowered for phrase in question.phrases for word in phrase):
        return None
    found = list(_words(text))
    place = None
    for phrase in question.phrases:
        at = _place(phrase, found) or _place_of_run(phrase, text)
        if at is None:
            return None
        place = place or at
    if place is None:
        return None
    start, end = max(0, place[0] - BEFORE), place[1] + AFTER
    cut = " ".join(text[start:end].split())
    return f"{'…' if start else ''}{cut}{'…' if end < len(text) else ''}"


@lru_cache(NAMES)
def _split(run: str) -> list[str]:
    """The words of a run."""
    return [word[:LONGEST_WORD].lower() for word in WORD.findall(run)]


Found = tuple[str, int, int]  # a word, where it begins, and where it ends


def _words(text: str) -> Iterator[Found]:
    text = text[:LONGEST]
    for number, match in enumerate(WORD.finditer(text)):
        if number == MOST:
            return
        yield match[0][:LONGEST_WORD].lower(), match.start(), match.end()


def _runs(text: str) -> Iterator[Found]:
    for match in RUN.finditer(text[:LONGEST]):
        if _has_several(match[0]):
            yield match[0].lower(), match.start(), match.end()


def _has_several(run: str) -> bool:
    return not run.islower() and len(run) <= LONGEST_WORD and len(_split(run)) > 1


def _place(phrase: Sequence[str], found: Sequence[Found]) -> tuple[int, int] | None:
    *before, last = phrase
    may_go_on = goes_on(phrase)
    for at in range(len(found) - len(before)):
        word, _, end = found[at + len(before)]
        is_last = word.startswith(last) if may_go_on else word == last
        if is_last and all(found[at + n][0] == word for n, word in enumerate(before)):
            return found[at][1], end
    return None


def _place_of_run(phrase: Sequence[str], text: str) -> tuple[int, int] | None:
    if len(phrase) > 1:
        return None
    for run, start, end in _runs(text):
        if run.startswith(phrase[0]) if goes_on(phrase) else run == phrase[0]:
            return start, end
    return None
