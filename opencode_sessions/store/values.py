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
from typing import Any, NamedTuple

import orjson
from sqlalchemy import JSON

from ..models import TABLES, Row

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
PLAIN = {bool, int, float, datetime}  # every database can hold them
JSON_COLUMNS = {
    column.name
    for table in TABLES.values()
    for column in table.columns
    if isinstance(column.type, JSON)
}
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


def whole(number: float | None) -> int | None:
    """A sum as an integer; one that is beyond every column of integers is not known."""
    return None if number is None or abs(number) > LARGEST_INT else int(number)


class JsonText:
    """A JSON value as the text its column holds: what is stored only need not be read again.

    It equals the value it says, and another text of the same value.
    """

    __slots__ = ("text",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def value(self) -> Any:
        """What it says."""
        return loads(self.text)

    def __eq__(self, other: object) -> bool:
        return bool(self.value == (other.value if isinstance(other, JsonText) else other))

    def __repr__(self) -> str:
        return f"JsonText({self.text!r})"


class Snapshot(NamedTuple):
    """A JSON value as it was when it was given: whoever gave it may go on changing it."""

    text: JsonText
    is_plain: bool
    """Whether it is of JSON's own types alone, and every text in it, or a part of one, storable."""
    given: Any
    """A copy if it is plain, else the value itself."""
    replaced: int
    """How many values in it no database can hold."""


def snapshot(value: Any) -> Snapshot:
    """What a value is now."""
    try:
        encoded = orjson.dumps(value)
        plain = orjson.loads(encoded)
        if plain == value and b"\\u0000" not in encoded:  # NaN equals nothing, not even itself
            return Snapshot(JsonText(encoded.decode()), True, plain, 0)
    except Exception:  # what it is made of may have code of its own
        pass
    text, replaced = _json_text(value)
    return Snapshot(text, False, value, replaced)


def fingerprint(value: Any) -> int:
    """A number of 48 bits that equal values share, whatever the order of their keys."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError, RecursionError):
        text = orjson.dumps(_scrub(value)[0], option=orjson.OPT_SORT_KEYS)
    return int.from_bytes(blake2b(text, digest_size=6).digest())


def clean(row: Row) -> tuple[Row, int]:
    """A copy of the row that every database can hold, and how many values had to be replaced."""
    return _storable(row, as_text=set())


def as_stored(text: str) -> str:
    """A text as a column holds it, to ask for it."""
    return str(clean({"text": text})[0]["text"])


def packed(row: Row) -> tuple[Row, int]:
    """What `clean` gives, with the values of JSON columns as `JsonText`."""
    return _storable(row, as_text=JSON_COLUMNS)


def plain(row: Row) -> Row:
    """The row with what each `JsonText` in it says."""
    texts = {column: value for column, value in row.items() if isinstance(value, JsonText)}
    return row | {column: text.value for column, text in texts.items()}


def _storable(row: Row, as_text: set[str]) -> tuple[Row, int]:
    cleaned, replaced = row.copy(), 0
    for column, value in row.items():
        if value is None:  # most are
            continue
        kind = type(value)
        if column in as_text:
            cleaned[column], count = _json_text(value)
        elif kind in PLAIN or (kind is str and value.isascii() and "\x00" not in value):
            continue
        elif isinstance(value, str):
            cleaned[column], count = _text(value)
        elif isinstance(value, list | tuple | dict):
            cleaned[column], count = _json(value)
        elif isinstance(value, int | float | datetime):
            continue
        else:
            cleaned[column], count = _described(value), 1
        replaced += count
    return cleaned, replaced


def is_oddly_written(path: str) -> bool:
    """Whether a path has another, plainer name; the same as `models.ODDLY_WRITTEN`."""
    inside = f"/{path}/"
    return (
        path == ""
        or path[1:2] == ":"
        or "\\" in path
        or "//" in inside[1:]
        or "/./" in inside
        or "/../" in inside
    )


def _text(value: str) -> tuple[str, int]:
    value = str.__str__(value)  # of a subclass its text: an Enum's member prints as something else
    # str.isascii() is one flag: most text needs no search; and encoding is faster than any
    if "\x00" not in value and (value.isascii() or _is_encodable(value)):
        return value, 0
    return UNSTORABLE.subn(REPLACEMENT, value)


def _is_encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json(value: Any) -> tuple[Any, int]:
    encoded = _encoded(value)
    return _scrub(value) if encoded is None else (orjson.loads(encoded), 0)


def _json_text(value: Any) -> tuple[JsonText, int]:
    encoded = _encoded(value)
    if encoded is not None:
        return JsonText(encoded.decode()), 0
    scrubbed, replaced = _scrub(value)
    return JsonText(dumps(scrubbed)), replaced


def _encoded(value: Any) -> bytes | None:
    """JSON that says all of the value; None if something of it has to be replaced."""
    try:
        encoded = orjson.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return None
    # orjson writes NaN as null without a word, and lets NUL pass
    if b"\\u0000" in encoded:
        return None
    if b"null" in encoded and orjson.loads(encoded) != value and _has_nan(value):
        return None
    return encoded


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
