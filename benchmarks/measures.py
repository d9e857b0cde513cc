"""How long each measure takes on a million made-up file events, and how it grows.

    python benchmarks/measures.py [events ...] [-k name]

Prints one line a measure: CPU seconds, the best of three, which are the wall's on an idle machine
since nothing here uses a second core; and how much longer a row takes at the largest size than at
the smallest, where 1.0 is linear growth.
"""

import argparse
import inspect
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from opencode_sessions import analytics, plots
from opencode_sessions.analytics import RESULTS, Frames
from opencode_sessions.analytics.columns import COLUMNS, FIXED

KINDS = ["read", "edit", "write", "bash", "delete", "move"]
SHARES = [0.42, 0.34, 0.05, 0.177, 0.008, 0.005]
COMMANDS = [
    "pytest -q tests/test_{0}.py 2>&1 | tail -20",
    "cd src && git diff --stat HEAD~{0} -- core/file_{0}.py",
    "grep -rn 'name_{0}' src | head -{0}; ls -la docs/{0}",
    "python - <<'EOF'\nprint({0})\nEOF",
    "npm run build -- --target={0} && npm test",
    "sed -n '{0},$p' src/web/file_{0}.py",
]
STEPS_A_SESSION = 70  # messages; each has three file events
STEPS_A_TURN = 14
FILES_A_PROJECT = 400
SESSIONS_A_PROJECT = 60


def frames(events: int, seed: int = 1) -> Frames:
    """Frames with about this many file events, in the proportions of real sessions."""
    rng = np.random.default_rng(seed)
    n_messages = events // 3 + 1
    n_sessions = max(n_messages // STEPS_A_SESSION, 1)
    n_projects = max(n_sessions // SESSIONS_A_PROJECT, 1)
    project_of = rng.integers(n_projects, size=n_sessions)
    # Sessions of a project follow each other; some overlap, some have a parent, some are forks.
    begins = pd.Timestamp("2026-01-01", tz="UTC").value // 1000
    created = begins + np.sort(rng.integers(200 * 86_400, size=n_sessions)) * 1_000_000
    parent = np.where(rng.random(n_sessions) < 0.1, np.arange(n_sessions) - 1, -1)
    project_of = np.where(parent >= 0, project_of[parent], project_of)
    root = np.where(parent >= 0, parent, np.arange(n_sessions))
    model_of = rng.integers(5, size=n_sessions)

    session = np.sort(rng.integers(n_sessions, size=n_messages))
    step = np.arange(n_messages) - np.searchsorted(session, session)
    is_prompt = step % STEPS_A_TURN == 0
    took = rng.exponential(12, n_messages)
    clock = np.cumsum(np.where(is_prompt, 120, 15) + took)
    first = np.searchsorted(session, session)
    start = created[session] + ((clock - clock[first]) * 1e6).astype("int64")
    is_copy = (session % 20 == 7) & (step < STEPS_A_TURN)
    output = rng.integers(20, 900, n_messages)
    cached = 10_000 + step * 600
    messages: dict[str, Any] = {
        **_place(session, project_of, parent, root, n_sessions, n_projects),
        "message_id": _ids("m", np.arange(n_messages)),
        "turn": 1 + step // STEPS_A_TURN,
        "seq": step,
        "time": _times(start),
        "duration_s": took,
        "role": _category(np.where(is_prompt, 0, 1), ["user", "assistant"]),
        **_who(model_of[session]),
        "content": pd.array(np.where(is_prompt, "do " + (session % 997).astype(str), ""), "str"),
        "is_compaction": ~is_prompt & (step % 60 == 59),
        "cost_usd": np.where(is_prompt, np.nan, output * 15e-6 + cached * 3e-7 + 0.0009),
        "tokens_input": _counts(rng.integers(100, 900, n_messages), is_prompt),
        "tokens_output": _counts(output, is_prompt),
        "tokens_reasoning": _counts(output // 3, is_prompt),
        "tokens_cache_read": _counts(cached, is_prompt),
        "tokens_cache_write": _counts(np.zeros(n_messages, "int64"), is_prompt),
        "is_fork_copy": is_copy,
        "is_undone": (session % 30 == 3) & (step >= 56),
    }
    n_calls = int(events * 1.1)
    message = np.sort(rng.choice(np.flatnonzero(~is_prompt), n_calls))
    call_session = session[message]
    seq = np.arange(n_calls) - np.searchsorted(call_session, call_session)
    kind = rng.choice(len(KINDS) + 1, size=n_calls, p=[*(np.array(SHARES) / 1.1), 0.1 / 1.1])
    status = rng.choice(4, size=n_calls, p=[0.95, 0.04, 0.006, 0.004])
    lasted = rng.exponential(0.8, n_calls)
    at = start[message] + np.arange(n_calls) % 7 * 1_000_000
    shared: dict[str, Any] = {
        **_place(call_session, project_of, parent, root, n_sessions, n_projects),
        "turn": messages["turn"][message],
        "message_id": messages["message_id"].take(message),
        "call_id": _ids("call_", np.arange(n_calls)),
        "seq": seq,
        "time": _times(at),
        "duration_s": lasted,
        "actor": _category(np.zeros(n_calls, "int64"), FIXED["actor"]),
        **_who(model_of[call_session]),
        "status": _category(status, FIXED["status"]),
        "error": pd.Series(_ids("File not found: ", np.arange(n_calls))).where(status == 1),
        "is_fork_copy": is_copy[message],
        "is_undone": messages["is_undone"][message],
    }
    calls = shared | {
        "tool_call_id": _ids("prt_", np.arange(n_calls)),
        "tool": _category(kind, [*KINDS, "grep"]),
        "output_bytes": _counts(rng.integers(20, 4000, n_calls), np.zeros(n_calls, bool)),
        "input_hash": _counts(np.arange(n_calls) * 7 // 8, np.zeros(n_calls, bool)),
    }
    rows = np.flatnonzero(kind < len(KINDS))[:events]
    of_event = pd.DataFrame(shared).take(rows).reset_index(drop=True)
    kind, where = kind[rows], project_of[call_session[rows]]
    is_bash = kind == KINDS.index("bash")
    # A session keeps to some files of its project: a few are everyone's, most hardly anyone's.
    home = call_session[rows] * 7919 % FILES_A_PROJECT
    file = np.minimum(rng.pareto(0.6, len(rows)) * 2, 1e6).astype("int64")
    file = np.where(file < 8, file, home + file % 40) % FILES_A_PROJECT
    names = [
        f"{top}/{sub}/file_{n:03}.py"
        for n, (top, sub) in enumerate(
            (("src", "tests", "docs")[n % 3], ("core", "web", "cli", "io")[n % 4])
            for n in range(FILES_A_PROJECT)
        )
    ]
    folder = [f"p{p:04}/{name}" for p in range(n_projects) for name in names]
    path = where * FILES_A_PROJECT + file
    is_edit, is_write = kind == KINDS.index("edit"), kind == KINDS.index("write")
    is_move = kind == KINDS.index("move")
    line = rng.integers(1, 300, len(rows))
    lines = rng.integers(0, 12, len(rows))
    has_range = ~is_bash
    file_events = {
        **{name: of_event[name] for name in of_event},
        "event_id": _ids("e", np.arange(len(rows))),
        "tool": _category(kind, KINDS),
        "event_type": _category([FIXED["event_type"].index(k) for k in KINDS], None, kind),
        "file_path": _category(np.where(is_bash, -1, path), folder),
        "new_file_path": _category(
            np.where(is_move, where * FILES_A_PROJECT + (file + 1) % FILES_A_PROJECT, -1), folder
        ),
        "is_new_file": pd.array(is_write & (lines < 9), "boolean"),
        "command": _commands(rng, is_bash),
        "additions": _counts(lines, ~(is_edit | is_write & (lines < 9))),
        "deletions": _counts(lines // 3, ~(is_edit | is_write & (lines < 9))),
        "start_line": _counts(line, ~has_range),
        "end_line": _counts(line + 60, ~has_range),
        "evidence": _category(np.zeros(len(rows), "int64"), FIXED["evidence"]),
        "output_bytes": calls["output_bytes"].take(rows),
        "errors_left": _counts(lines // 4, ~is_edit),
    }
    number = np.arange(n_sessions)
    sessions = {
        **_place(number, project_of, parent, root, n_sessions, n_projects),
        "project_id": _category(project_of, [f"g{p:04}" for p in range(n_projects)]),
        "title": _ids("Session ", number),
        **_who(model_of),
        "opencode_version": _category(number % 2, ["1.14.34", "1.18.33"]),
        "created_at": _times(created + (number % 20 == 7) * 3_600_000_000),
        "reported_files": _counts(np.full(n_sessions, 3), number % 3 == 0),
        "reported_additions": _counts(np.full(n_sessions, 30), number % 3 == 0),
        "reported_deletions": _counts(np.full(n_sessions, 3), number % 3 == 0),
    }
    return Frames(
        **{
            name: _frame(name, rows)
            for name, rows in {
                "sessions": sessions,
                "messages": messages,
                "tool_calls": calls,
                "file_events": file_events,
            }.items()
        }
    )


def _commands(rng: np.random.Generator, is_bash: Any) -> Any:
    """Commands for the rows that have one, most of them different, as agents write them."""
    which = rng.integers(len(COMMANDS), size=is_bash.sum())
    number = rng.integers(2 * len(which) + 1, size=len(which))
    commands = np.full(len(is_bash), None, dtype=object)
    commands[is_bash] = [
        COMMANDS[kind].format(n) for kind, n in zip(which.tolist(), number.tolist(), strict=True)
    ]
    return pd.array(commands, "str")


def _place(
    session: Any, project_of: Any, parent: Any, root: Any, n_sessions: int, n_projects: int
) -> dict[str, Any]:
    ids = [f"ses_{n:08}" for n in range(n_sessions)]
    return {
        "session_id": _category(session, ids),
        "opencode_session_id": _category(session, ids),
        "root_session_id": _category(root[session], ids),
        "parent_session_id": _category(parent[session], ids),
        "project": _category(
            project_of[session], [f"/home/dev/p{p:04}" for p in range(n_projects)]
        ),
    }


def _who(model: Any) -> dict[str, Any]:
    return {
        "agent_name": _category(model % 2, ["build", "plan"]),
        "provider": _category(model * 0, ["northwind"]),
        "model": _category(model, [f"model-{n}" for n in range(5)]),
    }


def _category(codes: Any, names: Any, of: Any = None) -> pd.Categorical:
    if of is not None:
        codes, names = np.asarray(codes)[of], FIXED["event_type"]
    return pd.Categorical.from_codes(np.asarray(codes), list(names))


def _ids(prefix: str, numbers: Any) -> Any:
    return pd.array(prefix + pd.Series(numbers).astype("str"), "str")


def _times(micros: Any) -> Any:
    return pd.DatetimeIndex(np.asarray(micros, "datetime64[us]")).tz_localize("UTC")


def _counts(values: Any, is_na: Any) -> Any:
    return pd.array(pd.Series(values, dtype="Int64").mask(pd.Series(is_na)), "Int64")


def _frame(name: str, rows: dict[str, Any]) -> pd.DataFrame:
    """The rows with every column of this frame, NA where they do not say, dtypes as documented."""
    n = len(next(iter(rows.values())))
    made = {}
    for column in COLUMNS[name]:  # type: ignore[index]
        if column.is_optional:
            continue
        if column.name in rows:
            values = pd.Series(rows[column.name])
            made[column.name] = (
                values if column.dtype == "category" else values.astype(column.dtype)
            )
        else:
            empty = np.zeros(n, bool) if column.dtype == "bool" else [None] * n
            fixed = FIXED.get(column.name)
            made[column.name] = pd.Series(empty).astype(
                pd.CategoricalDtype(list(fixed)) if fixed else column.dtype
            )
    return pd.DataFrame(made)


# Some measures take longer when they are asked for more.
OPTIONS: dict[str, dict[str, Any]] = {
    "activity by hour, project, model": {
        "freq": "h",
        "tz": "Asia/Tokyo",
        "by": ["project", "model"],
    },
    "blind_edits by lines": {"region": True},
    "coupling by session": {"by": "session"},
    "edit_failures by extension": {"by": ["extension", "tool"]},
    "file_timeline of one file": {"file_path": "p0000/src/core/file_000.py"},
}


def called(name: str, made: Frames) -> Callable[[], Any]:
    """The measure or plot of this name, ready to be called on what it takes."""
    measure = name.split(" ")[0].removeprefix("plots.")
    function = getattr(plots if name.startswith("plots.") else analytics, measure)
    first, *_ = inspect.signature(function).parameters
    events = made.file_events
    given: dict[str, Callable[[], Any]] = {
        "frames": lambda: made,
        "events": lambda: events,
        "tool_calls": lambda: made.tool_calls,
        "costs": lambda: analytics.cost_by_file(made),
        "pairs": lambda: analytics.coupling(events),
        "table": lambda: analytics.edit_failures(events, by=["model", "tool"]),
    }
    data = given[first]()
    return lambda: function(data, **OPTIONS.get(name, {}))


def yardstick(made: Frames) -> Any:
    """What pandas takes for one plain groupby, to hold the measures against on any machine."""
    return made.file_events.groupby(["project", "file_path"], observed=True)["seq"].max()


def main() -> None:
    """Times the measures and prints a table."""
    matplotlib.use("agg")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("-k", default="", help="only what has this in its name")
    options = parser.parse_args()
    measures = [*RESULTS, *OPTIONS, *(f"plots.{name}" for name in plots.__all__)]
    measures = [name for name in measures if options.k in name and name != "rates"]
    seconds: dict[str, list[float]] = {name: [] for name in ("(one groupby)", *measures)}
    for events in options.events:
        made = frames(events)
        print(*(f"{len(getattr(made, name)):,} {name}" for name in COLUMNS), sep=", ")
        for name in seconds:
            call = called(name, made) if name in measures else partial(yardstick, made)
            runs = []
            for _ in range(3):
                start = time.process_time()
                call()
                runs.append(time.process_time() - start)
                plt.close("all")
            seconds[name].append(min(runs))
            ratio = min(runs) / seconds["(one groupby)"][-1]
            print(f"  {name:<34} {min(runs):8.3f} s {ratio:8.1f} groupbys", flush=True)
    if len(options.events) > 1:
        small, large = options.events[0], options.events[-1]
        print(f"a row at {large:,} events against one at {small:,}:")
        for name, took in seconds.items():
            print(f"  {name:<34} {took[-1] / took[0] / (large / small):8.2f} x")


if __name__ == "__main__":
    main()
