"""Hotspots, coupling, lift, blast radius and contention, each against an oracle of its own.

The oracles are slow and plain: sets, fractions and loops over the events, code-maat's formulas
written down a second time, and what the recordings' ground truth says of the files on disk.
"""

import math
import posixpath
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import combinations, permutations
from typing import Any

import pandas as pd
import pytest
from conftest import TRAILMAP, Recording
from handmade import START, delete, edit, file_events, move, read, write
from hypothesis import given, settings
from hypothesis import strategies as st

import opencode_sessions as ocs
from opencode_sessions.analytics import (
    blast_radius,
    contention,
    coupling,
    file_timeline,
    hotspots,
    read_edit_lift,
)

FAILED = {"status": "error", "additions": None, "deletions": None}
MUTATIONS = ("write", "edit", "delete", "move")
PATHS = ["a.py", "src/b.py", "src/c.py", "src/web/d.py", "docs/e.md"]


@pytest.fixture(scope="module")
def events(recordings: dict[str, Recording]) -> pd.DataFrame:
    """The rich recording's, with what commands changed."""
    return ocs.read_opencode(recordings[TRAILMAP].database).file_events


@st.composite
def some_events(draw: st.DrawFn) -> pd.DataFrame:
    """Reads and changes of five files in a few turns of three sessions, some of them failed."""
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["read", "edit", "write"]),
                st.sampled_from(PATHS),
                st.integers(1, 3),  # session
                st.integers(1, 4),  # turn
                st.sampled_from(["completed", "completed", "completed", "error"]),
                st.integers(0, 9),
            ),
            max_size=60,
        )
    )
    made = []
    for kind, path, session, turn, status, lines in sorted(rows, key=lambda row: row[2:4]):
        more: dict[str, Any] = {"session_id": f"s{session}", "turn": turn, "status": status}
        if kind == "edit":
            more |= {"additions": lines, "deletions": 0}
        made.append({"read": read, "edit": edit, "write": write}[kind](path, **more))
    return file_events(*made)


def rows_of(table: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return list(table[list(columns)].itertuples(index=False, name=None))


def by_turn(events: pd.DataFrame, keys: tuple[str, ...] = ("session_id", "turn")) -> Any:
    """Per transaction the files that were read, and those that were changed; last names."""
    rows = file_timeline(events)
    found: Any = defaultdict(lambda: (set(), set()))
    for row in rows[rows["status"] == "completed"].itertuples():
        both = found[tuple(getattr(row, key) for key in keys)]
        both[row.event_type in MUTATIONS].add(row.last_path)
    return found


# hotspots


def test_lines_are_what_the_disk_has_at_the_end(events: pd.DataFrame, trailmap: Recording) -> None:
    contents = trailmap.truth["contents"]
    (project,) = trailmap.truth["projects"].values()
    true = {path: len(contents[s].splitlines()) for path, s in project["final_tree"].items()}
    table = hotspots(events).set_index("file_path")["lines"]
    wrong = {path: (int(n), true[path]) for path, n in table.items() if n != true[path]}
    assert wrong == {"docs/guide/grades.md": (17, 9)}  # its last 8 lines went with a reverted turn
    assert len(table) == 62


def test_turns_and_changes_are_counted_one_by_one(events: pd.DataFrame) -> None:
    table = hotspots(events).set_index("file_path")
    turns, changes = defaultdict(set), Counter()
    for row in file_timeline(events).itertuples():
        if row.status == "completed" and row.event_type in MUTATIONS:
            turns[row.last_path].add((row.session_id, row.turn))
            changes[row.last_path] += 1
    for path, row in table.iterrows():
        assert (row["turns"], row["mutations"]) == (len(turns[path]), changes[path])
    gone = set(turns) - set(table.index)
    last = file_timeline(events).groupby("last_path", observed=True)["event_type"].last()
    assert gone and set(last[sorted(gone)]) == {"delete"}


def test_rank_is_the_share_that_have_as_many_or_fewer(events: pd.DataFrame) -> None:
    table = hotspots(events)
    for name in ("turns", "lines"):
        values = table[name].tolist()
        ranks = [
            (sum(other < value for other in values) + (values.count(value) + 1) / 2) / len(values)
            for value in values
        ]
        assert table[f"{name}_rank"].tolist() == pytest.approx(ranks, abs=1e-12)
    assert table["score"].tolist() == (table["turns_rank"] * table["lines_rank"]).tolist()
    assert table["score"].is_monotonic_decreasing


def test_length_follows_the_changes() -> None:
    events = file_events(
        read("a.py", start_line=1, end_line=40),
        edit("a.py", additions=5, deletions=0, start_line=3, end_line=7),
        edit("b.py", additions=1, deletions=0, start_line=9, end_line=9),
        write("c.py", start_line=1, end_line=20),
        write("c.py", start_line=1, end_line=3),
        edit("c.py", additions=0, deletions=1, start_line=3, end_line=3),
        edit("d.py"),
        edit("e.py", **FAILED, end_line=99),
        write("f.py", end_line=4),
        delete("f.py"),
        edit("g.py", additions=1, deletions=1, start_line=1, end_line=1),
        edit("h.py", additions=2, deletions=3, start_line=5, end_line=7),
    )
    table = hotspots(events)
    lengths = dict(rows_of(table, "file_path", "lines"))
    assert pd.isna(lengths.pop("d.py"))
    # Line 7 of h.py may be the one after its end, where a third line was.
    assert lengths == {"a.py": 45, "b.py": 9, "c.py": 2, "g.py": 1, "h.py": 6}
    assert table["score"].isna().tolist() == [False, False, False, False, False, True]


def test_projects_are_ranked_apart() -> None:
    events = file_events(
        write("a.py", end_line=9), write("a.py", end_line=900, project="/p", session_id="s2")
    )
    assert hotspots(events)["score"].tolist() == [1.0, 1.0]


def test_renamed_file_is_one_hotspot() -> None:
    events = file_events(edit("a.py", end_line=5), move("a.py", "b.py", turn=2), edit("b.py"))
    assert rows_of(hotspots(events), "file_path", "turns", "mutations") == [("b.py", 2, 3)]


# coupling


def code_maat(
    changesets: list[set[str]], min_revs: int, min_shared: int, min_coupling: int, max_size: int
) -> set[tuple[str, str, int, int, int, int]]:
    """Logical coupling as code-maat works it out: exact fractions, `int` of the percentage."""
    kept = [files for files in changesets if len(files) <= max_size]
    revs = Counter(path for files in kept for path in files)
    shared = Counter(pair for files in kept for pair in combinations(sorted(files), 2))
    found = set()
    for (one, other), count in shared.items():
        average = Fraction(revs[one] + revs[other], 2)
        degree = 100 * count / average
        if average >= min_revs and count >= min_shared and degree >= min_coupling:
            found.add((one, other, count, revs[one], revs[other], int(degree)))
    return found


COUPLED = ["file_path", "coupled_path", "shared", "revisions", "coupled_revisions", "degree"]


@pytest.mark.parametrize("limits", [(5, 5, 30, 30), (2, 2, 10, 30), (1, 1, 1, 6)])
@pytest.mark.parametrize("by", ["turn", "session"])
def test_degree_is_code_maats(events: pd.DataFrame, by: Any, limits: Any) -> None:
    keys = ("session_id", "turn") if by == "turn" else ("session_id",)
    changesets = [changed for _, changed in by_turn(events, keys).values()]
    names = ("min_revs", "min_shared", "min_coupling", "max_changeset")
    table = coupling(events, by, **dict(zip(names, limits, strict=True)))
    assert set(rows_of(table, *COUPLED)) == code_maat(changesets, *limits)
    assert not table.duplicated(COUPLED[:2]).any()
    assert table["degree"].is_monotonic_decreasing


@settings(max_examples=40)
@given(some_events(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 100), st.integers(1, 5))
def test_degree_is_code_maats_of_anything(
    events: pd.DataFrame, min_revs: int, min_shared: int, min_coupling: int, max_changeset: int
) -> None:
    limits = (min_revs, min_shared, min_coupling, max_changeset)
    names = ("min_revs", "min_shared", "min_coupling", "max_changeset")
    table = coupling(events, **dict(zip(names, limits, strict=True)))
    expected = code_maat([changed for _, changed in by_turn(events).values()], *limits)
    assert set(rows_of(table, *COUPLED)) == expected
    assert table["degree"].between(0, 100).all()


def test_what_goes_together_in_the_recording(events: pd.DataFrame) -> None:
    """By hand, from the sessions: distances and grades were changed together in five turns."""
    table = coupling(events)
    assert rows_of(table, *COUPLED) == [
        ("trailmap/difficulty.py", "trailmap/geo/distance.py", 5, 6, 5, 90),
        ("trailmap/cli.py", "trailmap/elevation.py", 6, 17, 8, 48),
    ]


def test_transactions_are_turns_or_sessions() -> None:
    with pytest.raises(ValueError, match="by='day' is unknown"):
        coupling(file_events(edit("a.py")), "day")  # type: ignore[arg-type]


# read_edit_lift


LIFT = ["read_path", "edited_path", "turns", "turns_read", "turns_edited", "shared"]


def lift(
    events: pd.DataFrame, min_read: int, min_shared: int, max_changeset: int
) -> dict[tuple[Any, ...], float]:
    turns = [both for both in by_turn(events).values() if len(both[1]) <= max_changeset]
    paths = {path for both in turns for path in both[0] | both[1]}
    found = {}
    for a, b in permutations(paths, 2):
        reads, edits = sum(a in r for r, _ in turns), sum(b in e for _, e in turns)
        shared = sum(a in r and b in e for r, e in turns)
        if reads >= min_read and shared >= min_shared:
            value = Fraction(shared, reads) / Fraction(edits, len(turns))
            found[a, b, len(turns), reads, edits, shared] = float(value)
    return found


def test_lift_is_that_of_sets_of_turns(events: pd.DataFrame) -> None:
    table = read_edit_lift(events)
    found = dict(zip(rows_of(table, *LIFT), table["lift"], strict=True))
    assert len(found) == len(table) > 20
    assert found == pytest.approx(lift(events, 5, 3, 30), abs=1e-12)
    assert table["lift"].is_monotonic_decreasing


@settings(max_examples=40)
@given(some_events(), st.integers(1, 2), st.integers(1, 2), st.integers(1, 5))
def test_lift_of_anything(
    events: pd.DataFrame, min_read: int, min_shared: int, max_changeset: int
) -> None:
    limits = (min_read, min_shared, max_changeset)
    table = read_edit_lift(
        events, min_read=min_read, min_shared=min_shared, max_changeset=max_changeset
    )
    found = dict(zip(rows_of(table, *LIFT), table["lift"], strict=True))
    assert found == pytest.approx(lift(events, *limits), abs=1e-12)
    assert table["edited_if_read"].between(0, 1).all()
    assert table["edited_at_all"].between(0, 1).all()


def test_turns_of_another_project_count_for_nothing() -> None:
    ours = [(read("a.py", turn=n), edit("b.py", turn=n)) for n in (1, 2, 3)]
    theirs = [read("a.py", turn=n, session_id="s2", project="/p") for n in (1, 2)]
    events = file_events(*(row for pair in ours for row in pair), read("a.py", turn=4), *theirs)
    (row,) = rows_of(read_edit_lift(events, min_read=1), *LIFT, "lift")
    assert row == ("a.py", "b.py", 4, 4, 3, 3, 1.0)


# blast_radius


@settings(max_examples=40)
@given(some_events())
def test_entropy_is_between_none_and_even(events: pd.DataFrame) -> None:
    table = blast_radius(events)
    known = table.dropna(subset="entropy")
    assert (
        (known["entropy"] >= 0) & (known["entropy"] <= known["folders"].map(math.log2) + 1e-9)
    ).all()
    assert (table["entropy"].isna() == ~table["churn"].fillna(0).gt(0)).all()
    assert (table["top_folders"] <= table["folders"]).all()
    assert (table["folders"] <= table["paths"]).all()
    changed = {key: both[1] for key, both in by_turn(events).items() if both[1]}
    found = {
        key: n for *key, n in rows_of(table, "session_id", "turn", "paths") for key in [tuple(key)]
    }
    assert found == {key: len(paths) for key, paths in changed.items()}
    churn: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for row in events[events["status"] == "completed"].itertuples():
        if row.event_type == "edit":
            churn[row.session_id, row.turn][posixpath.dirname(row.file_path)] += row.additions
    for *turn, entropy in rows_of(known, "session_id", "turn", "entropy"):
        of_folders = churn[tuple(turn)]
        shares = [n / of_folders.total() for n in of_folders.values() if n]
        assert entropy == pytest.approx(-sum(p * math.log2(p) for p in shares), abs=1e-12)


def test_entropy_by_hand() -> None:
    events = file_events(
        edit("a.py", additions=2, deletions=2),
        edit("src/b.py", additions=1, deletions=1),
        edit("src/web/d.py", additions=1, deletions=0),
        edit("src/web/e.py", additions=1, deletions=0),
        edit("/etc/hosts", turn=2, additions=0, deletions=0),
        move("x/a.py", "y/a.py", turn=3, additions=3, deletions=1),
        write("x/b.py", turn=3),
        move("x/q.py", "y/q.py", turn=4, additions=1, deletions=1),
        edit("y/r.py", turn=4),
    )
    columns = ["turn", "paths", "folders", "top_folders", "churn", "lines_unknown"]
    table = blast_radius(events)
    assert rows_of(table, *columns) == [
        (1, 4, 3, 2, 8, 0),
        (2, 1, 1, 1, 0, 0),
        (3, 3, 2, 2, 4, 1),
        (4, 3, 2, 2, 4, 0),
    ]
    # Half, a quarter and a quarter of the churn: 1/2 * 1 + 2 * 1/4 * 2.
    assert table["entropy"][0] == pytest.approx(1.5)
    assert math.isnan(table["entropy"][1])
    assert table["entropy"][2] == table["entropy"][3] == 0  # a move's lines are where it went


def test_spread_of_the_recordings_turns(events: pd.DataFrame, trailmap: Recording) -> None:
    """The widest turn moved the geometry into a package: 14 files in five folders."""
    table = blast_radius(events)
    session = next(s for s in trailmap.truth["sessions"] if s["title"].startswith("Simplify"))
    (row,) = table[
        (table["session_id"] == session["session_id"]) & (table["turn"] == 3)
    ].itertuples()
    assert (row.paths, row.folders, row.top_folders, row.churn) == (14, 5, 3, 97)
    assert row.entropy == table["entropy"].max()


# contention


def contended(events: pd.DataFrame) -> set[tuple[Any, ...]]:
    rows = file_timeline(events)
    rows = rows[(rows["status"] == "completed") & rows["event_type"].isin(MUTATIONS)]
    stays = [
        (path, session, times["time"].min(), times["time"].max(), len(times))
        for (path, session), times in rows.groupby(["last_path", "session_id"], observed=True)
    ]
    found = set()
    for one, other in combinations(stays, 2):
        start, end = max(one[2], other[2]), min(one[3], other[3])
        if one[0] == other[0] and start <= end:
            found.add((one[0], frozenset([(one[1], one[4]), (other[1], other[4])]), start, end))
    return found


def told(table: pd.DataFrame) -> set[tuple[Any, ...]]:
    return {
        (
            r.file_path,
            frozenset([(r.session_id, r.changes), (r.other_session_id, r.other_changes)]),
            r.start,
            r.end,
        )
        for r in table.itertuples()
    }


@settings(max_examples=40)
@given(some_events(), st.randoms(use_true_random=False))
def test_contention_is_that_of_all_pairs(events: pd.DataFrame, random: Any) -> None:
    times = [START + pd.Timedelta(minutes=random.randrange(30)) for _ in range(len(events))]
    events["time"] = pd.Series(sorted(times), dtype=events["time"].dtype)
    events["seq"] = range(len(events))
    events = events.sample(frac=1, random_state=1)
    table = contention(events)
    assert told(table) == contended(events)
    assert len(told(table)) == len(table)
    assert (table["overlap_s"] >= 0).all()


def test_two_sessions_at_the_command_line(events: pd.DataFrame, trailmap: Recording) -> None:
    """The recording's notes: "at the same time as the next session, on the same file (cli.py)"."""
    ids = {session["title"]: session["session_id"] for session in trailmap.truth["sessions"]}
    pair = [ids["Miles and feet, and a settings file"], ids["Weather and grades"]]
    table = contention(events)
    (row,) = table[
        table["session_id"].eq(pair[0]) & table["other_session_id"].eq(pair[1])
    ].itertuples()
    assert (row.file_path, row.is_related) == ("trailmap/cli.py", False)
    assert told(table) == contended(events)


def test_one_after_the_other_is_no_contention_and_one_in_between_is() -> None:
    other = {"session_id": "s2", "root_session_id": "s1"}
    mine = {"root_session_id": "s1"}
    after = file_events(edit("a.py", **mine), edit("a.py", **mine), edit("a.py", **other))
    assert contention(after).empty
    between = file_events(edit("a.py", **mine), edit("a.py", **other), edit("a.py", **mine))
    (row,) = contention(between).itertuples()
    assert (row.session_id, row.other_session_id, row.is_related) == ("s1", "s2", True)
    assert (row.changes, row.other_changes, row.overlap_s) == (2, 1, 0.0)


def test_other_peoples_machines_are_other_files() -> None:
    rows = [edit("a.py"), edit("a.py", session_id="s2", origin="ben"), edit("a.py")]
    assert contention(file_events(*rows)).empty
