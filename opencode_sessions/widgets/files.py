"""The list of a session's files: the busiest first, what was done to each, its former names."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..showing.story import SHELL
from ..showing.svg import MARK
from ..shown import number_of, visible

FOLDED_FROM = 60  # files shown before the rest is folded into one option
FOLD = "\x00more"  # as an option's value: no path holds a NUL
FIGURE_SPACE = "\u2007"  # as wide as a digit, and no list drops it at the front
PATH_LETTERS = 60
# What the timeline draws, as letters of a list.
SIGNS = dict(zip(MARK, "●▲■✕▶◆▬", strict=True))
FAILED_SIGN = "✗"


class Listed(NamedTuple):
    """What the list shows: options as (label, name of the file), and a line about them."""

    options: tuple[tuple[str, str], ...]
    note: str


def listed(files: pd.DataFrame, words: Sequence[str], *, is_unfolded: bool) -> Listed:
    """The files of a story that have all these words, the first `FOLDED_FROM` of them if folded.

    A word may be part of a path, of a former one, or "failed".
    """
    said = zip(files.index, files["former"], files["failed"], strict=True)
    fitting = files[np.array([_fits(*row, words=words) for row in said], bool)]
    folds = len(fitting) > FOLDED_FROM and not is_unfolded
    shown = fitting.head(FOLDED_FROM) if folds else fitting
    width = max((len(str(count)) for count in shown["events"]), default=0)
    worst = max((len(str(count)) for count in shown["failed"] if count), default=0)
    options = [
        (file_label(str(name), file, width, worst), str(name))
        for name, file in zip(shown.index, shown.to_dict("records"), strict=True)
    ]
    if folds:
        rest = fitting["events"].iloc[FOLDED_FROM:]
        label = f"… {len(rest):,} more files, {rest.sum():,} events"
        options.append((label, FOLD))
    count = int((fitting.index != SHELL).sum())
    total = int((files.index != SHELL).sum())
    of = "" if count == total else f" of {total:,}"
    note = f"{count:,}{of} file{'' if total == 1 else 's'}"
    if len(files) and not options:
        note = f"none of {number_of(total, 'file')} has these words"
    return Listed(tuple(options), note)


def file_label(name: str, file: Mapping[Any, Any], width: int, worst: int) -> str:
    """A file as the list shows it: how many events, how many failed, its name, what they were."""
    count = f"{file['events']:>{width}}".replace(" ", FIGURE_SPACE)
    failed = f"{FAILED_SIGN}{file['failed']}" if file["failed"] else ""
    failed = f" {failed:<{worst + 1}}" if worst else ""
    types = [] if name == SHELL else [f"{SIGNS[t]}{file[t]}" for t in SIGNS if file[t]]
    former = f"  ← {visible(str(file['former']))}" if file["former"] else ""
    return f"{count}{failed}  {_short(name)}  {' '.join(types)}{former}"


def _short(name: str) -> str:
    """The end of a path: that is what tells files apart."""
    if name == SHELL:
        return "shell commands"
    shown = visible(name)
    if len(shown) <= PATH_LETTERS:
        return shown
    end = shown[1 - PATH_LETTERS :]
    return "…" + end[max(end.find("/"), 0) :]


def _fits(name: str, former: str, failed: int, *, words: Sequence[str]) -> bool:
    said = f"{name or 'shell commands'}\n{former}\n{'failed' if failed else ''}".casefold()
    return all(word in said for word in words)
