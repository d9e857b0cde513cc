"""How large a report is and how long it takes, by the number of messages, plain and shared.

    python -m benchmarks.reports            # 10, 100 and 1,000 messages
    python -m benchmarks.reports 5000

The messages are those of the recording that ships with the package, session after session in one,
and over again where more are asked for: real parts, outputs and diffs.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pandas as pd

import opencode_sessions as ocs
from opencode_sessions import demo
from opencode_sessions.analytics import Frames


def session_of(frames: Frames, count: int) -> Frames:
    """One session with this many of the messages of all of them."""
    id = str(frames.sessions["session_id"].iloc[-1])
    copies = -(-count // len(frames.messages))
    rows = {
        name: _again(getattr(frames, name), id, key, copies)
        for name, key in (
            ("messages", "message_id"),
            ("tool_calls", "tool_call_id"),
            ("file_events", "event_id"),
        )
    }
    messages = rows["messages"].head(count)
    kept = {
        name: table[table["message_id"].isin(messages["message_id"])]
        for name, table in rows.items()
    }
    return Frames(sessions=frames.sessions.tail(1), **kept)


def _again(table: pd.DataFrame, id: str, key: str, copies: int) -> pd.DataFrame:
    parts = []
    for copy in range(copies):
        mark = f"{copy}-" if copy else ""
        own = {key: mark + table[key], "message_id": mark + table["message_id"]}
        parts.append(table.assign(turn=table["turn"] + 100 * copy, **own))
    whole = pd.concat(parts, ignore_index=True)
    ids = dict.fromkeys(("session_id", "opencode_session_id", "root_session_id"), id)
    numbers = pd.Series(range(len(whole)), dtype="Int32")
    return whole.assign(**ids, seq=numbers).astype({name: "category" for name in ids})


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("messages", type=int, nargs="*", default=[10, 100, 1000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recording = demo.unpack(Path(folder))
        frames = ocs.read_opencode(recording, diffs=True, parts=True)
        ocs.report(session_of(frames, 10), Path(folder, "first.html"))  # imports what it needs
        print(f"{'messages':>9} {'MB':>6} {'s':>7} {'CPU s':>7} {'shared, CPU s':>14}  left out")
        for count in options.messages:
            session = session_of(frames, count)
            start, cpu = time.perf_counter(), time.process_time()
            made = ocs.report(session, Path(folder, "out.html"))
            took, cpu = time.perf_counter() - start, time.process_time() - cpu
            start = time.process_time()
            ocs.report(session, Path(folder, "shared.html"), share=True)
            shared = time.process_time() - start
            print(
                f"{made.messages:>9,} {made.bytes / 1e6:>6.2f} {took:>7.2f} {cpu:>7.2f}"
                f" {shared:>14.2f}  {' '.join(made.notes)}"
            )


if __name__ == "__main__":
    main()
