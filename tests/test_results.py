"""What holds for every measure: what it says it gives, and that it gives it of anything."""

import doctest
import inspect
from collections.abc import Callable

import pandas as pd
import pytest
from conftest import RECORDINGS, TRAILMAP, TREES, Recording
from handmade import example, frame
from test_recordings import SHOP

import opencode_sessions as ocs
from opencode_sessions import analytics
from opencode_sessions.analytics import RESULTS, Frames

NAMES = ("sessions", "messages", "tool_calls", "file_events")
NOTHING = Frames(**{name: frame(name, []) for name in NAMES})


def measured(name: str, frames: Frames) -> pd.DataFrame:
    """What the measure of this name makes of the frames, or of their file events."""
    measure: Callable[..., pd.DataFrame] = getattr(analytics, name)
    first, *_ = inspect.signature(measure).parameters
    return measure(frames if first == "frames" else frames.file_events)


def dtypes(table: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in table.dtypes.items()}


@pytest.fixture(scope="module", params=[TRAILMAP, SHOP])
def frames(request: pytest.FixtureRequest, recordings: dict[str, Recording]) -> Frames:
    return ocs.read_opencode(recordings[request.param].database)


def test_every_measure_is_named_and_says_what_it_gives() -> None:
    functions = {name for name, of in vars(analytics).items() if inspect.isfunction(of)}
    assert functions - {"load", "rates"} == set(RESULTS)  # rates are of any of them
    assert set(RESULTS) < set(analytics.__all__)


@pytest.mark.parametrize("name", RESULTS)
def test_docstring_says_what_comes_out(name: str) -> None:
    frames, measure = example(), getattr(analytics, name)
    names = {"frames": frames, "events": frames.file_events, name: measure}
    (test,) = doctest.DocTestFinder(recurse=False).find(measure, globs=names)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0
    columns = RESULTS[name]
    said = {word.strip("`*:;.,()") for word in measure.__doc__.split()}
    stems = [word.removesuffix("_*") for word in said if word.endswith("_")]
    assert [c for c in columns if c not in said and not c.startswith(tuple(stems))] == []


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("of", [example(), NOTHING], ids=["example", "nothing"])
def test_gives_the_columns_it_declares(name: str, of: Frames) -> None:
    table = measured(name, of)
    given = dtypes(table)
    by = inspect.signature(getattr(analytics, name)).parameters.get("by")
    taken = [by.default] if by is not None else list(table) if name == "file_timeline" else []
    assert set(given) - set(RESULTS[name]) <= set(taken)
    own = {column: dtype for column, dtype in given.items() if column in RESULTS[name]}
    assert own == RESULTS[name] and list(own) == list(RESULTS[name])
    assert isinstance(table.index, pd.RangeIndex)


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


@pytest.mark.parametrize("recording", [*RECORDINGS, *TREES])
def test_every_recording_gives_the_columns_declared(
    recording: str, recordings: dict[str, Recording], trees: dict[str, Recording]
) -> None:
    frames = ocs.read_opencode((recordings | trees)[recording].database)
    for name, columns in RESULTS.items():
        given = dtypes(measured(name, frames))
        assert {column: given[column] for column in columns} == columns


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
