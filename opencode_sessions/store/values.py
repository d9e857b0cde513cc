"""Values a database can hold: whatever an application hands over, made storable and counted.

PostgreSQL refuses NUL, SQLite and asyncpg lone surrogates, JSON NaN and objects. Refusing a message
for one such value would lose it, so the value is replaced and counted instead. Clean values pass
untouched, as a snapshot of their own: the caller may go on changing its lists.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from hashlib import blake2b
from typing import Any

import orjson

from ..models import Row

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "�"
DEEPEST = 200  # orjson stops at 254 levels
LARGEST_INT = 2**63 - 1


def dumps(value: Any) -> str:
    """JSON text for a column; cleaned values always have one."""
    return orjson.dumps(value).decode()


def loads(text: str) -> Any:
    """The value of a JSON column; older rows may hold NaN, which only stdlib json reads."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def fingerprint(value: Any) -> int:
    """A number of 48 bits that equal values share, whatever the order of their keys."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError, RecursionError):
        text = orjson.dumps(_scrub(value)[0], option=orjson.OPT_SORT_KEYS)
    return int.from_bytes(blake2b(text, digest_size=6).digest())


def clean(row: Row) -> tuple[Row, int]:
    """A copy of the row that every database can hold, and how many values had to be replaced."""
    cleaned, replaced = {}, 0
    for column, value in row.items():
        if isinstance(value, str):
            value, count = _text(value)
            replaced += count
        elif isinstance(value, list | tuple | dict):
            value, count = _json(value)
            replaced += count
        elif value is not None and not isinstance(value, int | float | datetime):
            value, count = _described(value), 1
            replaced += count
        cleaned[column] = value
    return cleaned, replaced


def _text(value: str) -> tuple[str, int]:
    value = str.__str__(value)  # of a subclass its text: an Enum's member prints as something else
    # str.isascii() is one flag: most text needs no search
    if value.isascii() and "\x00" not in value:
        return value, 0
    return UNSTORABLE.subn(REPLACEMENT, value)


def _json(value: Any) -> tuple[Any, int]:
    try:
        encoded = orjson.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return _scrub(value)
    # orjson writes NaN as null without a word, and lets NUL pass
    if b"\\u0000" in encoded or (b"null" in encoded and _has_nan(value)):
        return _scrub(value)
    return orjson.loads(encoded), 0


def _has_nan(value: Any) -> bool:
    """Whether json refuses the value, as it does NaN; in C, so faster than a walk of ours."""
    try:
        json.dumps(value, allow_nan=False, check_circular=False, default=str)
    except ValueError:
        return True
    return False


def _scrub(value: Any) -> tuple[Any, int]:
    replaced = 0
    above: set[int] = set()  # ids of the containers we are in: one that holds itself has no end
    done: dict[int, tuple[Any, Any]] = {}  # what was in the others, kept so that ids stay theirs

    def walk(value: Any) -> Any:
        nonlocal replaced
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            text, count = _text(value)
            replaced += count > 0
            return text
        if isinstance(value, int):
            if abs(value) <= LARGEST_INT:
                return int(value)
        elif isinstance(value, float):
            if math.isfinite(value):
                return float(value)
        elif isinstance(value, Mapping | list | tuple):
            if id(value) not in done and id(value) not in above and len(above) < DEEPEST:
                above.add(id(value))
                inner: Any = {} if isinstance(value, Mapping) else []
                if isinstance(value, Mapping):  # loops: a comprehension is a frame more a level
                    for name, item in list(value.items()):
                        inner[key(name)] = walk(item)
                else:
                    for item in list(value):
                        inner.append(walk(item))
                above.remove(id(value))
                done[id(value)] = value, inner
            if id(value) in done:
                return done[id(value)][1]
            replaced += 1  # not its text: that of a circle has no end either
            return f"<{type(value).__name__} {'in itself' if id(value) in above else 'too deep'}>"
        replaced += 1
        return _described(value)

    def key(name: object) -> str:
        nonlocal replaced
        text, count = _text(name if isinstance(name, str) else _described(name))
        replaced += count > 0 or not isinstance(name, str)
        return text

    return walk(value), replaced


def _described(value: object) -> str:
    """What can be said of a value JSON has no form for; if its own code fails, that."""
    if isinstance(value, Enum):
        value = value.value
    try:
        if isinstance(value, bytes | bytearray):
            text = value.decode("utf-8", "replace")
        else:
            text = str(value)
    except Exception as error:
        text = f"<{type(value).__name__} that could not be shown: {type(error).__name__}>"
    return UNSTORABLE.sub(REPLACEMENT, text)
