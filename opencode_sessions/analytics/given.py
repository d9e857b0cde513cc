"""What a measure or a picture is given: all frames, or rows of one of them."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import pandas as pd

from .frames import Frames

Function = TypeVar("Function", bound=Callable[..., Any])
# By how a first parameter is called: what it takes, and a column that such rows have.
ROWS = {
    "events": ("file events, rows of `frames.file_events`", "event_type"),
    "tool_calls": ("tool calls, rows of `frames.tool_calls`", "tool"),
    "costs": ("what `cost_by_file` gives", "estimate_usd"),
    "pairs": ("what `coupling` gives", "coupled_path"),
}


def checked(function: Function) -> Function:
    """The function, which refuses what its first parameter's name does not promise.

    Raises:
        TypeError: by the function, for something else; the message says what it takes.
    """
    first = next(iter(inspect.signature(function).parameters))

    @wraps(function)
    def refusing(*args: Any, **named: Any) -> Any:
        if args or first in named:
            _check(function.__name__, first, args[0] if args else named[first])
        return function(*args, **named)

    return cast(Function, refusing)


def _check(name: str, first: str, given: object) -> None:
    kind = type(given).__name__
    if first == "frames" and not isinstance(given, Frames):
        raise TypeError(f"{name} takes all frames, as `await svc.frames()` gives them, no {kind}.")
    if first in ROWS:
        what, column = ROWS[first]
        if not isinstance(given, pd.DataFrame):
            raise TypeError(f"{name} takes {what}, no {kind}.")
        if column not in given:
            raise TypeError(f"{name} takes {what}: these rows have no {column!r}.")
