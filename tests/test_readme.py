"""The README tells the truth: its code runs, and its numbers are those of the recordings."""

import ast
import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from conftest import TRAILMAP, Recording

import opencode_sessions as ocs

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split("\n")[0][:30] for block in BLOCKS])
async def test_every_block_runs(
    block: str, trailmap: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENCODE_DB", str(trailmap.database))
    names: dict[str, object] = {"ocs": ocs}
    # A block of the README stands at a prompt, where await needs no function around it.
    code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if result is not None:
        await result
    plt.close("all")
    assert len(names["frames"].file_events) >= 880  # type: ignore[attr-defined]


def test_what_opencode_misses(recordings: dict[str, Recording]) -> None:
    frames = [
        ocs.read_opencode(recordings[name].database) for name in (TRAILMAP, "opencode-1.18.33")
    ]
    events = pd.concat([one.file_events for one in frames])
    calls = pd.concat([one.tool_calls for one in frames])
    compared = pd.concat([ocs.analytics.compare_with_opencode(one) for one in frames])
    changed = compared[compared["files"] > 0]
    credited = compared[compared["why"].str.contains("other session")]
    idle = credited[credited["files"] == 0]
    patches = events[events["tool"] == "apply_patch"]
    failed = events["status"].isin(["error", "denied", "aborted"])
    intro = f"{len(compared)} sessions, {len(calls):,} tool calls,\n{len(events)} file events"
    for said in (
        intro,
        f"{(changed['reported_files'] == 0).sum()} of {len(changed)} sessions that did",
        f"{len(credited)} of {len(compared)} sessions",
        f"with {idle['turns_files'].sum()} files",
        f"{failed.sum()} of {len(events)} events",
        f"{len(patches)} events in {(calls['tool'] == 'apply_patch').sum()} calls",
        f"{events['is_fork_copy'].sum()} of {len(events)} events",
    ):
        assert said in README, textwrap.shorten(said, 80)
    assert len(idle) == 4  # "four sessions that changed nothing"
