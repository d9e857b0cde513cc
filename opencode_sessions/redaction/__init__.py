"""Secrets, names and places taken out of frames before anybody else sees them.

`redact` goes to every string there is: titles, paths, commands, errors, diffs, messages, the JSON
of parts and inputs with its keys, categories, an index. What cannot be gone through is replaced
whole. `formats` has what tokens look like, `named` and `places` what gives others away, `views` how
deep in JSON, links, base64 and terminal colours they are found; `tests/test_redaction.py` plants
secrets of some forty kinds in every place and looks for them afterwards.

It finds what has a known form or a telling name beside it. A secret that is a plain word in a plain
sentence has neither: give it in `names`, or share `structure_only`.
"""

from collections.abc import Collection
from typing import Any, NamedTuple, cast

import pandas as pd

from ..analytics import Frames
from ..analytics.columns import COLUMNS
from ..store import TableName
from .finding import MARK
from .marks import Marks
from .structure import bare_frame
from .walking import Walk

LONG = 16  # digits of a hash that has to tell a million rows apart

__all__ = ["Redacted", "redact"]


class Redacted(NamedTuple):
    """Frames without secrets, and what was replaced: `kind`, `mark`, `count` and `where`."""

    frames: Frames
    replaced: pd.DataFrame


def redact(
    frames: Frames,
    *,
    names: Collection[str] = (),
    structure_only: bool = False,
    key: bytes | None = None,
) -> Redacted:
    """The frames with a mark for each secret: keys, tokens, passwords, connections, private keys,
    e-mail addresses, users in paths, hosts, and the names given.

    The same secret has the same mark, `[token-3f9a1c22]`, wherever and however it stands. The given
    frames are not changed; columns and dtypes stay, and redacting again changes nothing.

    Args:
        frames: what to redact.
        names: of people, companies, projects: replaced in any case and however their words are
            joined, also within longer words.
        structure_only: keep counts, numbers, times, types of events and tools; each other word
            becomes a hash, equal words equal ones. Parts keep their types, columns that are not
            ours are left out.
        key: what the marks are derived with; by default a new one that nobody keeps, so that a mark
            cannot be looked up. With one key the marks of two calls can be compared.

    Returns:
        `frames` and `replaced`, a row a kind, mark and place (`messages.parts`), with its count.
    """
    marks = Marks(names, key)
    tables: dict[TableName, pd.DataFrame] = {name: getattr(frames, name) for name in COLUMNS}
    if structure_only:
        for name, table in tables.items():

            def hashed(text: str, name: str = name) -> str:
                return text if MARK.fullmatch(text) else marks.mark("text", text, name, LONG)

            tables[name] = bare_frame(name, table, hashed)
    else:
        learning = Walk(marks.learn, lambda value, where: "")
        for name, table in tables.items():
            learning.frame(table, name)
        replacing = Walk(marks.replaced, marks.unread)
        tables = {name: replacing.frame(table, name) for name, table in tables.items()}
    if "input_hash" in (calls := tables["tool_calls"]):
        # Anybody can hash a guess; which calls asked the same is all that has to be told.
        ranks = calls["input_hash"].rank(method="dense").astype("Int64")
        tables["tool_calls"] = calls.assign(input_hash=ranks)
    return Redacted(Frames(**cast(Any, tables)), marks.frame())
