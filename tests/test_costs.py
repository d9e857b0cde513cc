"""What sessions cost, alone, with subagents, per file, and group against group.

The oracles: opencode's own rows summed up by SQL, each request once; what adds up, to 1e-9; and the
context of each request rebuilt step by step.
"""

import math
import sqlite3
from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import RECORDINGS, TRAILMAP, Recording
from handmade import START, WHO, example, file_events, frame, move, read, write
from handmade import edit as edit_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recordings import SHOP

import opencode_sessions as ocs
from opencode_sessions.analytics import (
    Frames,
    compare,
    cost_by_file,
    session_costs,
    session_summary,
    session_tree,
)
from opencode_sessions.analytics.compare import VALUES
from opencode_sessions.analytics.compare import _median as median_with_interval

# Of input, output, reasoning, cache read and cache write, as docs and docstring have them.
PRICES = (1.0, 5.0, 5.0, 0.1, 1.25)
MONEY = ("cost_usd", "tokens_input", "tokens_output", "tokens_reasoning")
FORK = "Plan walks over a network of paths (fork #1)"
REVIEW = "Review before the release"


@pytest.fixture(scope="module", params=RECORDINGS)
def recording(request: pytest.FixtureRequest, recordings: dict[str, Recording]) -> Recording:
    return recordings[request.param]


@pytest.fixture(scope="module")
def frames(recording: Recording) -> Frames:
    return ocs.read_opencode(recording.database)


@pytest.fixture(scope="module")
def trail(recordings: dict[str, Recording]) -> Frames:
    return ocs.read_opencode(recordings[TRAILMAP].database)


def without(frames: Frames, session: str) -> Frames:
    """The frames as they were if this session had been deleted."""
    names = ("sessions", "messages", "tool_calls", "file_events")
    left = {name: getattr(frames, name) for name in names}
    return Frames(**{name: rows[rows["session_id"] != session] for name, rows in left.items()})


def id_of(frames: Frames, title: str) -> str:
    (id,) = frames.sessions.loc[frames.sessions["title"] == title, "session_id"]
    return str(id)


# Any sessions: parent or -1, what it is a fork of or -1, and requests: cost, whether it compacts,
# whether it was undone, reads (path, bytes, minutes until pruned), edits (path, lines), tokens.

request = st.tuples(
    st.none() | st.floats(0, 5),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([False, False, False, True]),
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 9000), st.none() | st.integers(0, 4)),
        max_size=3,
    ),
    st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 9)), max_size=3),
    st.lists(st.integers(0, 3000), min_size=5, max_size=5),
)
family = st.lists(
    st.tuples(st.integers(-1, 6), st.integers(-1, 6), st.lists(request, max_size=5)), max_size=6
)


def built(sessions: list[Any]) -> Frames:
    """The frames of such sessions; a fork has its original's requests before its own."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    told: list[list[Any]] = []
    clock = 0
    for number, (parent, fork_of, requests) in enumerate(sessions):
        copied = told[fork_of] if 0 <= fork_of < number else []
        own = []
        for one in requests:
            clock += 1
            own.append((clock, one))
        told.append([*copied, *own])
        clock += 1
        who = WHO | {"session_id": f"s{number}", "root_session_id": f"s{number}"}
        parent_id = f"s{parent}" if parent >= 0 else None
        created = START + pd.Timedelta(minutes=clock)
        rows["sessions"].append(who | {"parent_session_id": parent_id, "created_at": created})
        for seq, (at, one) in enumerate(told[-1]):
            cost, compacts, is_undone, reads, writes, tokens = one
            message = {"message_id": f"m{number}.{seq}", "is_undone": is_undone}
            message |= {"is_fork_copy": seq < len(copied)}
            more = {"role": "assistant", "cost_usd": cost, "is_compaction": compacts, "seq": seq}
            names = ("input", "output", "reasoning", "cache_read", "cache_write")
            more |= {f"tokens_{name}": n for name, n in zip(names, tokens, strict=True)}
            time = {"time": START + pd.Timedelta(minutes=at)}
            rows["messages"].append(who | message | more | time)
            for place, (path, size, lasts) in enumerate(reads):
                call = who | message | time | {"call_id": f"c{place}", "tool": "read"}
                gone = None if lasts is None else time["time"] + pd.Timedelta(minutes=lasts)
                call |= {"status": "completed", "seq": place, "pruned_at": gone}
                rows["file_events"].append(call | read(path, output_bytes=size))
            for path, lines in writes:
                call = who | message | time | {"tool": "edit", "status": "completed", "seq": 9}
                change = edit_of(path, additions=lines, deletions=0 if lines is not None else None)
                rows["file_events"].append(call | change)
    return Frames(
        **{n: frame(n, rows[n]) for n in ("sessions", "messages", "tool_calls", "file_events")}
    )


# session_costs


def test_every_request_counts_once_as_opencode_stored_it(
    recording: Recording, frames: Frames
) -> None:
    """By SQL: the costs of all different requests; a fork's copies are equal in every number."""
    database = sqlite3.connect(f"file:{recording.database}?mode=ro&immutable=1", uri=True)
    (total,) = database.execute(
        "select sum(cost) from (select distinct time_created, data ->> 'cost' as cost,"
        " data ->> 'tokens', data ->> 'modelID', data ->> 'time' from message"
        " where data ->> 'role' = 'assistant')"
    ).fetchone()
    database.close()
    costs = session_costs(frames)
    assert costs["own_cost_usd"].sum() == pytest.approx(total, abs=1e-9)
    everything = frames.messages["cost_usd"].sum()
    assert (costs["own_cost_usd"] + costs["copied_cost_usd"]).sum() == pytest.approx(everything)
    assert costs["requests_unknown"].sum() == 0


def test_our_sum_is_opencodes_but_for_forks(trail: Frames) -> None:
    costs = session_costs(trail).set_index("title")
    apart = (costs["own_cost_usd"] - costs["reported_cost_usd"]).round(9)
    assert apart[apart != 0].to_dict() == {FORK: -0.177565}
    assert costs["copied_cost_usd"][FORK] == pytest.approx(0.177565)
    subagents = [title for title in costs.index if "subagent)" in title]
    whole = costs["own_cost_usd"][[REVIEW, *subagents]].sum()
    assert costs["inclusive_cost_usd"][REVIEW] == pytest.approx(whole, abs=1e-12)
    assert whole == pytest.approx(0.441557, abs=1e-6)


def test_copy_counts_where_its_original_is_gone(trail: Frames) -> None:
    original = id_of(trail, "Plan walks over a network of paths")
    costs = session_costs(without(trail, original)).set_index("title")
    assert costs["own_cost_usd"][FORK] == pytest.approx(0.314505)
    assert costs["copied_cost_usd"][FORK] == 0


def test_undone_requests_were_paid_for(recordings: dict[str, Recording]) -> None:
    costs = session_costs(ocs.read_opencode(recordings[SHOP].database)).set_index("title")
    row = costs.loc["Left reverted"]
    assert row["own_cost_usd"] == row["undone_cost_usd"] == pytest.approx(0.014494)


@settings(max_examples=30)
@given(family, st.integers(0, 5))
def test_own_costs_add_up_to_all_different_requests(sessions: Any, gone: int) -> None:
    """Whatever was forked from whatever, and whichever session was deleted."""
    frames = without(built(sessions), f"s{gone}")
    requests = frames.messages.drop_duplicates("time")  # each has a time of its own
    costs = session_costs(frames)
    for name in MONEY:
        total = requests[name].astype("Float64").sum()
        assert float(costs[f"own_{name}"].sum()) == pytest.approx(float(total), abs=1e-9)
    assert costs["requests"].sum() == len(requests)
    assert costs["requests_unknown"].sum() == requests["cost_usd"].isna().sum()


@settings(max_examples=30)
@given(family)
def test_inclusive_is_the_sum_of_the_subtree(sessions: Any) -> None:
    frames = built(sessions)
    tree = session_tree(frames).set_index("session_id")
    parent = {str(id): str(p) for id, p in tree["parent_session_id"].dropna().items()}

    def is_below(session: str, top: str) -> bool:
        seen: set[str] = set()
        while session not in seen and session != top and session in parent:
            seen.add(session)
            session = parent[session]
        return session == top

    costs, own = session_costs(frames).set_index("session_id"), tree["own_cost_usd"]
    files = defaultdict(set)
    for event in frames.file_events.itertuples():
        is_counted = not (event.is_fork_copy or event.is_undone)
        if is_counted and event.event_type == "edit":
            files[event.session_id].add(event.file_path)
    for top, row in tree.iterrows():
        below = [id for id in tree.index if is_below(str(id), str(top))]
        expected = own[below].sum(min_count=1)
        assert row["inclusive_cost_usd"] == pytest.approx(expected, abs=1e-9, nan_ok=True)
        assert costs["inclusive_cost_usd"][top] == pytest.approx(expected, abs=1e-9, nan_ok=True)
        tokens = costs["own_tokens_output"][below].sum(min_count=1)
        assert (costs["inclusive_tokens_output"][top] == tokens) or pd.isna(tokens)
        assert row["descendants"] == len(below) - 1
        assert row["inclusive_files"] == len(set().union(*(files[id] for id in below)))
        assert row["children"] == sum(p == top and id != top for id, p in parent.items())
    assert sorted(tree.index) == sorted(frames.sessions["session_id"])


# session_tree


def test_subagents_come_after_who_called_them(trail: Frames) -> None:
    tree = session_tree(trail)
    place = list(tree["title"]).index(REVIEW)
    assert list(tree["depth"][place : place + 6]) == [0, 1, 1, 1, 1, 0]
    assert [str(title).split(" (")[0] for title in tree["title"][place + 1 : place + 5]] == [
        "Review geometry",
        "Review storage",
        "Review web",
        "Missing tests",
    ]
    assert (tree["children"][place], tree["descendants"][place]) == (4, 4)


def test_a_file_that_a_subagent_moved_is_one_with_all_above() -> None:
    made = example()
    sessions = pd.concat([made.sessions] * 2, ignore_index=True).assign(
        session_id=pd.Categorical(["s1", "s2"]), parent_session_id=pd.Categorical([None, "s1"])
    )
    events = file_events(edit_of("a"), move("a", "b", session_id="s2"), edit_of("b"))
    tree = session_tree(Frames(sessions, made.messages, made.tool_calls, events))
    assert list(tree["session_id"]) == ["s1", "s2"]
    assert list(tree["own_files"]) == [2, 1], "by itself it cannot know"
    assert list(tree["inclusive_files"]) == [1, 1]


def test_parents_in_a_circle_are_all_there() -> None:
    nothing: list[Any] = []
    circle = [(1, -1, nothing), (0, -1, nothing), (2, -1, nothing), (9, -1, nothing)]
    tree = session_tree(built(circle)).set_index("session_id")
    assert tree["depth"].to_dict() == {"s0": 1, "s1": 1, "s2": 0, "s3": 0}
    assert tree["descendants"].to_dict() == {"s0": 1, "s1": 1, "s2": 0, "s3": 0}


# cost_by_file


def test_files_and_conversation_are_the_sessions_cost(frames: Frames) -> None:
    table = cost_by_file(frames)
    sums = table.groupby("session_id", observed=True)["estimate_usd"].sum()
    own = session_costs(frames).set_index("session_id")["own_cost_usd"]
    assert (sums - own.reindex(sums.index)).abs().max() < 1e-9
    assert own.drop(sums.index).fillna(0).sum() == 0
    assert table["estimate_usd"].min() > -1e-12
    parts = table["written_usd"] + table["read_usd"]
    is_file = table["file_path"] != "<conversation>"
    assert (table["estimate_usd"] - parts)[is_file].abs().max() < 1e-12


def by_hand(frames: Frames) -> dict[tuple[str, str], tuple[float, float]]:
    """Each request's context rebuilt from what was read before, one request after the other."""
    found: Any = defaultdict(lambda: [0.0, 0.0])
    asked = frames.messages[frames.messages["role"] == "assistant"]
    is_here = set(asked.loc[~asked["is_fork_copy"], "time"])
    seen: set[Any] = set()
    events = {
        key: list(rows.itertuples()) for key, rows in frames.file_events.groupby("message_id")
    }
    order = frames.sessions.sort_values(["created_at", "session_id"])["session_id"]
    for session in order:
        context: list[tuple[str, float, bool, Any]] = []
        for m in asked[asked["session_id"] == session].sort_values("seq").itertuples():
            counts = not m.is_fork_copy or (m.time not in is_here and m.time not in seen)
            seen.add(m.time)
            kinds = ("input", "output", "reasoning", "cache_read", "cache_write")
            tokens = [getattr(m, f"tokens_{kind}") for kind in kinds]
            tokens = [0 if pd.isna(n) else n for n in tokens]
            worth = [n * price for n, price in zip(tokens, PRICES, strict=True)]
            cost = m.cost_usd if counts and m.cost_usd == m.cost_usd and sum(worth) else 0
            cost /= sum(worth) or 1
            held = [
                (path, n)
                for path, n, is_undone, pruned_at in context
                if (m.is_undone or not is_undone) and not pruned_at <= m.time
            ]
            whole = max(tokens[0] + tokens[3] + tokens[4], sum(n for _, n in held))
            for path, n in held:
                share = n / whole if whole else 0
                found[session, path][1] += cost * (worth[0] + worth[3] + worth[4]) * share
            made = [e for e in events.get(m.message_id, []) if e.event_type in ("edit", "write")]
            lines = [
                max(1, e.end_line if pd.isna(e.additions) and not pd.isna(e.end_line) else 0)
                if pd.isna(e.additions)
                else max(1, e.additions + e.deletions)
                for e in made
            ]
            for e, n in zip(made, lines, strict=True):
                found[session, e.file_path][0] += cost * worth[1] * n / sum(lines)
            for e in events.get(m.message_id, []):
                if e.event_type == "read" and e.status == "completed":
                    size = 0 if pd.isna(e.output_bytes) else e.output_bytes / 4
                    context.append((e.file_path, size, e.is_undone, e.pruned_at))
            if m.is_compaction:
                context = []
    return {key: (written, read) for key, (written, read) in found.items()}


def estimated(frames: Frames) -> dict[tuple[str, str], tuple[float, float]]:
    table = cost_by_file(frames)
    table = table[table["file_path"] != "<conversation>"]
    columns = (table[name] for name in ("session_id", "file_path", "written_usd", "read_usd"))
    return {(s, p): (w, r) for s, p, w, r in zip(*columns, strict=True)}


def close(found: Any, expected: Any) -> bool:
    keys = {*found, *(key for key, parts in expected.items() if max(parts) > 1e-12)}
    nothing = (0.0, 0.0)
    return all(
        math.isclose(a, b, abs_tol=1e-9)
        for key in keys
        for a, b in zip(found.get(key, nothing), expected.get(key, nothing), strict=True)
    )


def test_estimates_are_those_of_contexts_rebuilt(recordings: dict[str, Recording]) -> None:
    frames = ocs.read_opencode(recordings[TRAILMAP].database, shell=False)
    moves = frames.file_events["event_type"].isin(["move", "delete"])
    plain = Frames(frames.sessions, frames.messages, frames.tool_calls, frames.file_events[~moves])
    assert len(estimated(plain)) > 200
    assert close(estimated(plain), by_hand(plain))


@settings(max_examples=30)
@given(family)
def test_estimates_of_anything(sessions: Any) -> None:
    frames = built(sessions)
    assert close(estimated(frames), by_hand(frames))
    costs = session_costs(frames).set_index("session_id")["own_cost_usd"].dropna()
    sums = cost_by_file(frames).groupby("session_id")["estimate_usd"].sum()
    assert (costs - sums.reindex(costs.index)).abs().fillna(0).max() < 1e-9 or costs.empty


def test_prices_of_a_model_move_the_shares() -> None:
    """The first request had 2000 tokens in and 400 out, for 0.02."""
    frames = example()
    priced = cost_by_file(frames, prices={"pine": (1, 0, 0, 0, 0)}).set_index("file_path")
    assert priced["written_usd"].sum() == 0
    assert priced["read_usd"]["convert.py"] == pytest.approx(0.01 * 1000 / 2500)
    others = cost_by_file(frames, prices={"oak": (1, 0, 0, 0, 0)})
    pd.testing.assert_frame_equal(others, cost_by_file(frames))
    with pytest.raises(ValueError, match="prices of 'oak' are 5 numbers, not 2"):
        cost_by_file(frames, prices={"oak": (1, 5)})


def test_what_commands_changed_was_not_written_by_the_model() -> None:
    frames = example()
    events = frames.file_events.assign(evidence="snapshot")
    by_shell = Frames(frames.sessions, frames.messages, frames.tool_calls, events)
    assert cost_by_file(by_shell)["written_usd"].sum() == 0


def test_big_file_is_found(recordings: dict[str, Recording]) -> None:
    """In the shop one read of a table of products cost more than all other files together."""
    table = cost_by_file(ocs.read_opencode(recordings[SHOP].database))
    by_path = table.groupby("file_path")["estimate_usd"].sum().drop("<conversation>")
    assert by_path.idxmax() == "data/products.csv"
    assert by_path.max() > by_path.drop("data/products.csv").sum() * 5


# compare


def prompted(values: list[tuple[str, str, float]]) -> Frames:
    """Sessions of (model, prompt, cost), a request each."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for n, (model, prompt, cost) in enumerate(values):
        who = WHO | {"session_id": f"s{n:03}", "opencode_session_id": f"o{n}", "model": model}
        time = START + pd.Timedelta(hours=n)
        rows["sessions"].append(who | {"created_at": time})
        ask = {"role": "user", "content": prompt, "seq": 0, "time": time}
        answer = {"role": "assistant", "cost_usd": cost, "seq": 1, "time": time}
        rows["messages"] += [who | ask, who | answer | {"message_id": f"m{n}"}]
    return Frames(
        **{n: frame(n, rows[n]) for n in ("sessions", "messages", "tool_calls", "file_events")}
    )


def test_groups_are_compared_prompt_by_prompt() -> None:
    sessions = [("pine", f"do {n % 10}", 2.0 + n) for n in range(20)]
    sessions += [("oak", f"do {n}", 1.0 + n) for n in range(12)]
    table = compare(prompted(sessions))
    costs = table[table["measure"] == "inclusive_cost_usd"].set_index("group")
    assert list(costs.index) == ["pine", "oak"] and set(costs["baseline"]) == {"pine"}
    assert costs["n"].to_dict() == {"pine": 20, "oak": 12}
    assert costs["median"].to_dict() == {"pine": 11.5, "oak": 6.5}
    # do n: pine 2 + n and 12 + n, oak 1 + n; "do 10" and "do 11" pine was never asked.
    assert costs["pairs"]["oak"] == 10 and costs["difference"]["oak"] == -6.0
    assert costs["difference_low"]["oak"] == costs["difference_high"]["oak"] == -6.0
    assert set(table["note"]) == {"", "too few"}  # nothing was edited: no session has that measure
    assert table.loc[table["measure"] == "first_edit_s", "median"].isna().all()


def test_few_sessions_have_no_interval(trail: Frames) -> None:
    table = compare(trail)
    assert list(table["measure"].unique()) == list(VALUES)
    few = table["n"] < 8
    assert few.any() and not few.all()
    assert table.loc[few, ["low", "high"]].isna().all(axis=None)
    assert (table["note"].eq("too few") == few).all()
    known = table[~few]
    assert ((known["low"] <= known["median"]) & (known["median"] <= known["high"])).all()
    roots = session_summary(trail)
    roots = roots[roots["parent_session_id"].isna() & roots["model"].eq("pine-large")]
    mine = table[table["group"] == "pine-large"].set_index("measure")
    for measure in ("inclusive_cost_usd", "turns", "churn", "first_edit_s"):
        assert mine["median"][measure] == roots[measure].median()


def test_forks_that_nobody_went_on_with_are_compared_by_name_alone(
    recordings: dict[str, Recording],
) -> None:
    frames = ocs.read_opencode(recordings["opencode-1.18.33"].database)
    summary = session_summary(frames)
    roots = summary[summary["parent_session_id"].isna() & summary["model"].notna()]
    idle = roots[roots["turns"].eq(0)]
    assert len(idle) > 0 and idle["calls"].sum() == 0
    table = compare(frames).query("measure == 'turns'")
    assert table["n"].sum() == len(roots) - len(idle)
    named = compare(frames, idle["session_id"].tolist()).query("measure == 'turns'")
    assert named["median"].tolist() == [0] * len(idle)


def test_single_sessions_side_by_side(trail: Frames) -> None:
    ids = [id_of(trail, "Release 0.3.0"), id_of(trail, REVIEW)]
    table = compare(trail, ids)
    assert list(table["group"][:2]) == ids and set(table["n"]) <= {0, 1}
    (cost,) = table.loc[
        (table["measure"] == "inclusive_cost_usd") & (table["group"] == ids[1]), "median"
    ]
    assert cost == pytest.approx(0.441557, abs=1e-6)
    with pytest.raises(KeyError, match="ses_nowhere"):
        compare(trail, ["ses_nowhere"])
    with pytest.raises(KeyError, match="To compare by a column: by='model'"):
        compare(trail, ["model"])
    with pytest.raises(ValueError, match="no 'colour' to group by"):
        compare(trail, "colour")


@pytest.mark.parametrize("n", [8, 9, 12, 31, 64])
def test_interval_is_that_of_resamples_drawn_one_by_one(n: int) -> None:
    rng = np.random.default_rng(n)
    values = rng.lognormal(0, 1, n)
    drawn = np.median(rng.choice(values, (20_000, n)), axis=1)
    middle, low, high = median_with_interval(values)
    assert middle == np.median(values)
    # Medians of few values jump: a quantile has its share below it, or on it.
    for quantile, share in ((low, 0.025), (high, 0.975)):
        assert np.mean(drawn < quantile) <= share + 0.01
        assert np.mean(drawn <= quantile) >= share - 0.01


def test_write_of_unknown_lines_weighs_as_much_as_the_file() -> None:
    events = [write("long.py", start_line=1, end_line=30), edit_of("short.py", additions=5)]
    rows = [row | {"message_id": "m1", "seq": n} for n, row in enumerate(events)]
    base = example()
    made = frame("file_events", [WHO | {"status": "completed"} | row for row in rows])
    table = cost_by_file(Frames(base.sessions, base.messages, base.tool_calls, made))
    written = table.set_index("file_path")["written_usd"]
    assert written["long.py"] == pytest.approx(written["short.py"] * 5)
