"""Our totals beside those of `opencode stats`, with what sets them apart item by item.

What it prints is rounded: to cents, to a tenth of a thousand. Needs opencode on PATH or in
OPENCODE_BIN.
"""

import re
import subprocess
from pathlib import Path

import pytest
from conftest import TRAILMAP, Recording
from lab import LIFETIME_S, Lab, opencode

import opencode_sessions as ocs
from opencode_sessions import demo
from opencode_sessions.analytics import Frames, session_costs

OPENCODE = opencode()
ROW = re.compile(r"^│\s*(\S.*?)\s+\$?([\d.,]+)([KM]?)(?: \(.*\))?\s*│$")
LARGE = {"": 1, "K": 1e3, "M": 1e6}


def stats(lab: Lab, project: Path) -> dict[str, dict[str, float]]:
    """The numbers it prints, by box, one for each model too."""
    command = [lab.opencode, "stats", "--models", "9", "--tools", "99"]
    said = subprocess.run(
        command, cwd=project, env=lab.env, capture_output=True, text=True, timeout=LIFETIME_S
    )
    assert said.returncode == 0, said.stderr
    boxes: dict[str, dict[str, float]] = {}
    for text in re.split(r"[┌├]─+[┐┤]", re.sub(r"\x1b\[\w+|[█▌]", "", said.stdout)):
        lines = [line for line in text.splitlines() if line.startswith("│")]
        found = [ROW.match(line) for line in lines]
        titles = [line.strip("│ ") for line, row in zip(lines, found, strict=True) if not row]
        rows = {row[1]: float(row[2].replace(",", "")) * LARGE[row[3]] for row in found if row}
        boxes[", ".join([*titles, *rows])] = rows
    return boxes


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    if OPENCODE is None:
        pytest.skip("there is no opencode on PATH, and OPENCODE_BIN names none")
    folder = tmp_path_factory.mktemp("stats")
    lab = Lab(OPENCODE, folder / "home", "http://127.0.0.1:9")
    demo.unpack(lab.data)
    (folder / "project").mkdir()
    return stats(lab, folder / "project")


@pytest.fixture(scope="module")
def frames(recordings: dict[str, Recording]) -> Frames:
    return ocs.read_opencode(recordings[TRAILMAP].database)


def test_cost_is_ours_and_what_a_fork_copied(
    said: dict[str, dict[str, float]], frames: Frames
) -> None:
    costs = session_costs(frames)
    own, copied = (costs[f"{whose}_cost_usd"].sum() for whose in ("own", "copied"))
    told = next(box["Total Cost"] for box in said.values() if "Total Cost" in box)
    assert told == pytest.approx(own + copied, abs=0.005) != pytest.approx(own, abs=0.005)


def test_models_messages_tokens_and_cost_are_ours_copies_among_them(
    said: dict[str, dict[str, float]], frames: Frames
) -> None:
    answers = frames.messages[frames.messages["role"] == "assistant"]
    seen = set()
    for (provider, model), ours in answers.groupby(["provider", "model"], observed=True):
        name = f"{provider}/{model}"
        box = next(box for title, box in said.items() if name in title)
        seen.add(name)
        assert box["Messages"] == len(ours)
        assert box["Cost"] == pytest.approx(ours["cost_usd"].sum(), abs=5e-5)
        # There an answer's reasoning is output.
        output = ours[["tokens_output", "tokens_reasoning"]].sum().sum()
        for row, n in {
            "Output Tokens": output,
            "Input Tokens": ours["tokens_input"].sum(),
            "Cache Read": ours["tokens_cache_read"].sum(),
        }.items():
            assert box[row] == pytest.approx(n, abs=0.06e6 if n > 1e6 else 60), (name, row)
    assert len(seen) == 3


def test_tools_are_called_as_often_copies_and_undone_ones_among_them(
    said: dict[str, dict[str, float]], frames: Frames
) -> None:
    (box,) = (box for box in said.values() if "todowrite" in box)
    ours = frames.tool_calls["tool"].astype(str).value_counts()
    assert box == ours.to_dict()
    counted = ocs.analytics.session_summary(frames)["calls"].sum()
    left_out = frames.tool_calls[["is_fork_copy", "is_undone"]].any(axis=1)
    left_out |= frames.tool_calls["actor"] == "user"
    assert sum(box.values()) - left_out.sum() == counted == 926


def test_sessions_and_messages_are_as_many(
    said: dict[str, dict[str, float]], frames: Frames
) -> None:
    box = next(box for box in said.values() if "Sessions" in box)
    assert (box["Sessions"], box["Messages"]) == (len(frames.sessions), len(frames.messages))
