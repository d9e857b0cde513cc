"""Token counts of model requests, the same for every version of opencode."""

import re
from typing import Any, NamedTuple

from .loose import as_dict, as_int

# Until this version cached tokens were counted in `input` as well, but for the providers whose own
# answers count them apart.
CACHED_TWICE_UNTIL = [1, 0, 0]
CACHED_APART = ("anthropic", "amazon-bedrock", "google-vertex-anthropic")
PLAIN_VERSION = re.compile(r"\d{1,9}\.\d{1,9}\.\d{1,9}", re.ASCII)


class Tokens(NamedTuple):
    """Token counts of model requests: `input` without cached, `output` without reasoning tokens."""

    input: int | None = None
    output: int | None = None
    reasoning: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None


def tokens_of(
    info: dict[str, Any], parts: list[dict[str, Any]], version: str | None = None
) -> Tokens:
    """Token counts of a message, the same for every version.

    Until 0.5 a message held a whole turn, and of its tokens only those of the last step: its parts
    have those of each.
    """
    steps = [part for part in parts if part.get("type") == "step-finish" and part.get("tokens")]
    is_cached_twice = (
        version is not None
        and PLAIN_VERSION.fullmatch(version) is not None
        and [int(number) for number in version.split(".")] <= CACHED_TWICE_UNTIL
        and info.get("providerID") not in CACHED_APART
    )
    each = [
        _normalised(step.get("tokens"), is_cached_twice)
        for step in (steps if len(steps) > 1 else [info])
    ]
    known = ([count for count in kind if count is not None] for kind in zip(*each, strict=True))
    return Tokens(*(sum(kind) if kind else None for kind in known))


def _normalised(tokens: object, is_cached_twice: bool) -> Tokens:
    """Counts of one request, without what older versions put into two of them.

    Until 1.3.2 `output` held the reasoning tokens too, since 1.14 it does not; `total`, there since
    1.1.65, tells which. What has no total is older, or was not answered and counts nothing. Until
    1.0.0 `input` held the cached tokens too; when that ended is known no better than by 1.0.185.
    """
    said, total = counts(tokens), as_int(as_dict(tokens).get("total"))
    if said.output and said.reasoning and total != sum(count or 0 for count in said):
        said = said._replace(output=max(said.output - said.reasoning, 0))
    if is_cached_twice and total is None and (said.input or 0) >= (said.cache_read or 0):
        said = said._replace(input=said.input and said.input - (said.cache_read or 0))
    return said


def counts(tokens: object) -> Tokens:
    """Token counts as opencode stores them, with nothing put right."""
    said = as_dict(tokens)
    cache = as_dict(said.get("cache"))
    return Tokens(
        *(as_int(said.get(key)) for key in ("input", "output", "reasoning")),
        *(as_int(cache.get(key)) for key in ("read", "write")),
    )
