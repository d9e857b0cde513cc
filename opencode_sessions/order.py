"""The order of messages and parts, although the times in opencode's ids begin anew."""

import re
from collections.abc import Callable
from typing import Any

from .loose import as_dict, as_number, as_text

# The time in an id, which begins anew every 795 days: last on 14 August 2026.
OPENCODE_ID = re.compile(r"[a-z]{3}_([0-9a-f]{12})[0-9A-Za-z]{14}$", re.ASCII)
ID_WINDOW = 2**48


def order(info: dict[str, Any]) -> tuple[float, str]:
    """What sorts messages: their time, then id."""
    return (as_number(as_dict(info.get("time")).get("created")) or 0.0, str(info["id"]))


def in_order(info: dict[str, Any], parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts of a message in the order they were made; as they came, if ids do not tell it."""
    ids = [as_text(part.get("id")) or "" for part in parts]
    if not all(OPENCODE_ID.match(id) for id in ids):
        return parts
    age = age_of(info)
    return sorted(parts, key=lambda part: age(part["id"]))


def age_of(info: dict[str, Any]) -> Callable[[str], tuple[int, str]]:
    """What sorts ids of a message's parts by age: as far as they are from its own, either way."""
    own = OPENCODE_ID.match(str(info.get("id")))

    def age(id: str) -> tuple[int, str]:
        match = OPENCODE_ID.match(id)
        if not (own and match):
            return 0, id
        return (int(match[1], 16) - int(own[1], 16) + ID_WINDOW // 2) % ID_WINDOW, id

    return age
