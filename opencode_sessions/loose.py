"""JSON that nobody promises anything about: a value as the type it should have, or as nothing.

A model, a crash or a newer version may have written what is read here, so nothing in it is taken
for granted, and nothing here raises.
"""

from collections.abc import Iterable, Mapping
from typing import Any

NUMBERS = (int, float)  # a union would be made anew for each value


def as_dict(value: object) -> dict[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def as_dicts(value: object) -> list[dict[str, Any]]:
    """The objects in a list, or the one object alone; what else is in it is left out."""
    if type(value) is not list:
        if isinstance(value, Mapping):
            value = [value]
        if not isinstance(value, Iterable) or isinstance(value, str | bytes):
            return []
    return [item for item in value if isinstance(item, dict)]


def as_text(value: object) -> str | None:
    """The text, if it is one and not empty."""
    return value if isinstance(value, str) and value else None


def as_number(value: object) -> float | None:
    """The number, if it is one of a size that times, counts and costs can have."""
    if not isinstance(value, NUMBERS) or isinstance(value, bool):
        return None
    return value if abs(value) < 2**63 else None  # NaN is not, either


def as_int(value: object, *, below: int = 2**63) -> int | None:
    """The whole part of a number, if a column of integers below this size can hold it."""
    number = as_number(value)
    return int(number) if number is not None and abs(number) < below else None
