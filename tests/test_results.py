"""What holds for every measure: what it says it gives, and that it gives it of anything."""

import doctest
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import RECORDINGS, TRAILMAP, TREES, Recording
from handmade import example, frame
from test_recordings import SHOP

import opencode_sessions as ocs
from opencode_sessions import analytics, plots
from opencode_sessions.analytics import RESULTS, Frames
from opencode_sessions.analytics.columns import COLUMNS
from opencode_sessions.analytics.rates import GIVES
from opencode_sessions.analytics.ratios import wilson

NAMES = ("sessions", "messages", "tool_calls", "file_events")
NOTHING = Frames(**{name: frame(name, []) for name in NAMES})
# What a measure is asked for beside its defaults.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "blind_edits": [{"region": True}],
    "coupling": [{"by": "session", "min_revs": 1, "min_shared": 1}],
    "activity": [
        {"freq": "h", "tz": "Asia/Kolkata", "by": ["project", "agent_name", "model"]},
        {"freq": "M", "by": "project"},
    ],
    "edit_failures": [{"by": ["tool", "extension"]}, {"by": "agent_name"}],
    "scope": [{"by": ["project", "model"]}],
    "overwrites": [{"by": ["agent_name", "model"]}],
    "compare": [{"by": "agent_name"}, {"by": "project"}],
}
# Ratios that are no share of their whole: 2 reads for a change are 2.
UNBOUNDED = {"reads_per_change", "lift"}
CASES = [(name, options) for name in RESULTS for options in [{}, *OPTIONS.get(name, [])]]
each = pytest.mark.parametrize(("name", "options"), CASES)


def measured(name: str, frames: Frames, **options: Any) -> pd.DataFrame:
    """What the measure of this name makes of the frames, or of their file events."""
    measure: Callable[..., pd.DataFrame] = getattr(analytics, name)
    first, *_ = inspect.signature(measure).parameters
    return measure(frames if first == "frames" else frames.file_events, **options)


def declared(name: str, **options: Any) -> dict[str, str]:
    """The columns the measure says it has and their dtypes, those it takes over in front."""
    taken: dict[str, str] = {}
    if RESULTS[name].takes == "events":
        taken = {c.name: c.dtype for c in COLUMNS["file_events"] if not c.is_optional}
    elif RESULTS[name].takes == "by":
        parameter = inspect.signature(getattr(analytics, name)).parameters["by"]
        by = options.get("by", parameter.default) or []
        taken = dict.fromkeys([by] if isinstance(by, str) else by, "category")
    own = RESULTS[name].dtypes
    if "tz" in options:
        own |= {"period": f"datetime64[us, {options['tz']}]"}
    return taken | own


def dtypes(table: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in table.dtypes.items()}


def checked(name: str, table: pd.DataFrame, **options: Any) -> None:
    """The table has what is declared, in this order, and its ratios are those of its numbers."""
    wanted = declared(name, **options)
    assert (name, dtypes(table)) == (name, wanted)
    assert list(table) == list(wanted)
    assert isinstance(table.index, pd.RangeIndex)
    for column, about in RESULTS[name].items():
        if about.of is None:
            continue
        above, below = (table[of].astype("Float64").astype("float64") for of in about.of)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = pd.Series(np.where(below == 0, np.nan, above / below), index=table.index)
        if about.end:
            low, high = wilson(*(table[of] for of in about.of))
            ratio = low if about.end == "low" else high
        pd.testing.assert_series_equal(table[column], ratio, check_names=False, rtol=1e-12)
        if column not in UNBOUNDED:
            assert table[column].dropna().between(0, 1).all()


@pytest.fixture(scope="module", params=[TRAILMAP, SHOP])
def frames(request: pytest.FixtureRequest, recordings: dict[str, Recording]) -> Frames:
    return ocs.read_opencode(recordings[request.param].database)


@pytest.fixture(scope="module")
def demo(recordings: dict[str, Recording]) -> Frames:
    return ocs.read_opencode(recordings[TRAILMAP].database)


def test_every_measure_is_named_and_says_what_it_gives() -> None:
    functions = {name for name, of in vars(analytics).items() if inspect.isfunction(of)}
    assert functions - {"load", "rates"} == set(RESULTS)  # rates are of any of them
    assert set(RESULTS) < set(analytics.__all__)


@pytest.mark.parametrize("name", [*RESULTS, "rates"])
def test_docstring_says_what_comes_out(name: str, demo: Frames) -> None:
    measure = getattr(analytics, name)
    names = vars(analytics) | {"frames": demo, "events": demo.file_events}
    (test,) = doctest.DocTestFinder(recurse=False).find(measure, globs=names)
    assert test.examples
    said: list[str] = []
    assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)
    assert " Source: " in " ".join(measure.__doc__.split())
    assert "NA" in measure.__doc__
    columns = RESULTS.get(name, GIVES)
    said = [word.strip("`*:;.,()") for word in measure.__doc__.split()]
    stems = [word.removesuffix("_*") for word in said if word.endswith("_")]
    assert [c for c in columns if c not in said and not c.startswith(tuple(stems))] == []


@each
@pytest.mark.parametrize("of", [example(), NOTHING], ids=["example", "nothing"])
def test_gives_what_it_declares(name: str, options: dict[str, Any], of: Frames) -> None:
    checked(name, measured(name, of, **options), **options)


@pytest.mark.parametrize("recording", [*RECORDINGS, *TREES])
def test_every_recording_gives_what_is_declared(
    recording: str, recordings: dict[str, Recording], trees: dict[str, Recording]
) -> None:
    frames = ocs.read_opencode((recordings | trees)[recording].database)
    for name, options in CASES:
        checked(name, measured(name, frames, **options), **options)


@pytest.mark.parametrize("name", RESULTS)
def test_recordings_give_the_same_in_any_order_and_stay_as_they_were(
    name: str, frames: Frames
) -> None:
    before = {of: getattr(frames, of).copy(deep=True) for of in NAMES}
    table = measured(name, frames)
    for of in NAMES:
        pd.testing.assert_frame_equal(getattr(frames, of), before[of])
    shuffled = Frames(**{of: before[of].sample(frac=1, random_state=1) for of in NAMES})
    pd.testing.assert_frame_equal(measured(name, shuffled), table)


@pytest.mark.parametrize("name", sorted(set(RESULTS) - {"file_timeline", "activity"}))
def test_text_does_as_well_as_categories(name: str, frames: Frames) -> None:
    as_text = {}
    for of in NAMES:
        rows = getattr(frames, of)
        as_text[of] = rows.astype({c: "str" for c in rows if rows[c].dtype == "category"})
    found, wanted = measured(name, Frames(**as_text)), measured(name, frames)
    for table in (found, wanted):
        categories = [c for c in table if table[c].dtype == "category"]
        table[categories] = table[categories].astype("str")
    pd.testing.assert_frame_equal(found, wanted)


OF_SESSIONS = [name for name in RESULTS if "session" in name or "compare" in name or "cost" in name]


@pytest.mark.parametrize("name", OF_SESSIONS)
def test_sessions_left_out_take_their_rows_with_them(name: str, frames: Frames) -> None:
    some = frames.sessions.iloc[::2]
    is_left = {of: getattr(frames, of)["session_id"].isin(some["session_id"]) for of in NAMES}
    assert not is_left["messages"].all()
    whole = Frames(**{of: getattr(frames, of)[is_left[of]] for of in NAMES})
    found = measured(name, replace(frames, sessions=some))
    pd.testing.assert_frame_equal(found, measured(name, whole))
    assert measured(name, replace(frames, sessions=frames.sessions[:0])).empty


# Beyond one machine measures run project by project.

KEYS = {"activity": ["period", "event_type"]}


def added_up(name: str, tables: list[pd.DataFrame], by: list[str]) -> pd.DataFrame:
    """One table of those of several projects, by what the measure says of its columns."""
    keys, result = [*by, *KEYS.get(name, [])], RESULTS.get(name, GIVES)
    rows = pd.concat([table.astype(dict.fromkeys(keys, object)) for table in tables])
    sums = rows.groupby(keys, dropna=False)[list(result.adding)].sum(min_count=1)
    return result.completed(sums).reset_index()


def cases_of(frames: Frames) -> pd.DataFrame:
    return analytics.rates(analytics.blind_edits(frames), "is_blind", by="model")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("activity", {"freq": "M", "by": ["agent_name"]}),
        ("edit_failures", {"by": ["model", "tool"]}),
        ("edit_failures", {"by": ["extension"]}),
        ("scope", {"by": ["model"]}),
        ("overwrites", {"by": ["agent_name", "model"]}),
        ("rates", {}),
    ],
)
def test_projects_one_by_one_add_up_to_all_of_them(
    name: str, options: dict[str, Any], recordings: dict[str, Recording]
) -> None:
    every = ocs.read_opencode([recordings[of].database for of in (TRAILMAP, SHOP)])
    projects = every.sessions["project"].unique()
    assert len(projects) > 3
    parts = []
    for project in projects:
        rows = {of: getattr(every, of) for of in NAMES}
        part = Frames(**{of: some[some["project"] == project] for of, some in rows.items()})
        parts.append(part)
    measure = cases_of if name == "rates" else partial(measured, name, **options)
    by = options.get("by", ["model"])
    found, whole = added_up(name, [measure(part) for part in parts], by), measure(every)
    whole = whole[list(found)].astype({key: object for key in [*by, *KEYS.get(name, [])]})
    whole = whole.sort_values([*by, *KEYS.get(name, [])], ignore_index=True)
    pd.testing.assert_frame_equal(found, whole, check_dtype=False, rtol=1e-12)
    assert len(whole) > 1


@pytest.mark.parametrize(
    "group",
    [
        lambda frames, by: analytics.overwrites(frames.file_events, by=by),
        lambda frames, by: analytics.scope(frames.file_events, by=by),
        lambda frames, by: analytics.edit_failures(frames.file_events, by=by),
        lambda frames, by: analytics.activity(frames.file_events, by=by),
        lambda frames, by: analytics.rates(analytics.blind_edits(frames), "is_blind", by=by),
        lambda frames, by: plots.tool_mix(frames.tool_calls, by),
    ],
)
def test_a_column_that_is_none_is_named_with_those_there_are(
    demo: Frames, group: Callable[[Frames, list[str]], object]
) -> None:
    with pytest.raises(ValueError, match=r"no 'colour' to group by\. There are: .*model"):
        group(demo, ["model", "colour"])


@pytest.mark.parametrize("by", [[], None, 3])
@pytest.mark.parametrize(
    "group",
    [
        lambda frames, by: analytics.overwrites(frames.file_events, by=by),
        lambda frames, by: analytics.scope(frames.file_events, by=by),
        lambda frames, by: analytics.edit_failures(frames.file_events, by=by),
        lambda frames, by: analytics.compare(frames, by),
        lambda frames, by: plots.tool_mix(frames.tool_calls, by),
    ],
)
def test_no_column_to_group_by_is_said_so(
    demo: Frames, group: Callable[[Frames, object], object], by: object
) -> None:
    said = "There is no 3 to group by" if by == 3 else f"by={by} names no column to group by"
    with pytest.raises(ValueError, match=re.escape(said) + r"\. There are: .*project"):
        group(demo, by)


def test_a_column_named_twice_groups_once(demo: Frames) -> None:
    once = analytics.overwrites(demo.file_events, "model")
    twice = analytics.overwrites(demo.file_events, ["model", "model"])
    pd.testing.assert_frame_equal(once, twice)


@pytest.mark.parametrize("by", [["turn"], None, "day"])
def test_what_is_no_choice_is_told_with_those_there_are(demo: Frames, by: Any) -> None:
    for choose in (analytics.coupling, analytics.activity):
        with pytest.raises(ValueError, match=re.escape(f"={by!r} is unknown. Choose from '")):
            choose(demo.file_events, by)


@pytest.mark.parametrize("tz", [None, 2])
def test_what_is_no_time_zone_is_told(demo: Frames, tz: Any) -> None:
    with pytest.raises(TypeError, match=f"tz={tz} is no time zone"):
        analytics.activity(demo.file_events, tz=tz)


def test_a_flag_that_is_none_is_named_with_those_there_are(demo: Frames) -> None:
    with pytest.raises(ValueError, match=r"no flag 'is_blnd'\. There are: .*is_blind"):
        analytics.rates(analytics.blind_edits(demo), "is_blnd")


@pytest.mark.parametrize(
    ("function", "wrong", "told"),
    [
        (analytics.file_summary, "frames", "file_summary takes file events.*, no Frames"),
        (analytics.edit_failures, "tool_calls", "these rows have no 'event_type'"),
        (analytics.blind_edits, "file_events", "blind_edits takes all frames.*, no DataFrame"),
        (plots.churn, "frames", "churn takes file events, rows of `frames.file_events`, no Frames"),
        (plots.session_gantt, "file_events", "session_gantt takes all frames"),
        (plots.tool_mix, "frames", "tool_mix takes tool calls.*, no Frames"),
        (plots.cost_per_file, "messages", "what `cost_by_file` gives: these rows have no"),
    ],
)
def test_what_a_function_does_not_take_is_told(
    demo: Frames, function: Callable[..., object], wrong: str, told: str
) -> None:
    given = demo if wrong == "frames" else getattr(demo, wrong)
    first, *_ = inspect.signature(function).parameters
    for call in (partial(function, given), partial(function, **{first: given})):
        with pytest.raises(TypeError, match=told):
            call()
