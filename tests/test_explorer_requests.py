"""What the explorer asks for: on a loop or without one, the newest request first."""

import asyncio
from typing import Any

import comm
import pandas as pd
import pytest
from comm.base_comm import BaseComm
from exploring import CLEAN_UP, FORK, RELEASE, WAIT, Gate, Source, made_by, until

import opencode_sessions as ocs
from opencode_sessions.widgets import loading
from opencode_sessions.widgets.view import parts


def test_frames_need_no_loop(as_frames: ocs.analytics.Frames) -> None:
    explorer = ocs.explore(as_frames)
    explorer.session = CLEAN_UP
    assert explorer.file == "trailmap/elevation.py"
    assert len(explorer.events) == 16


def test_a_service_without_a_loop_loads_when_it_is_waited_for(
    in_memory: ocs.OpencodeSessionService,
) -> None:
    explorer = ocs.explore(in_memory)
    explorer.session = CLEAN_UP
    assert explorer.events.empty
    assert "await explorer.settled()" in repr(explorer)
    asyncio.run(explorer.settled())
    assert explorer.file == "trailmap/elevation.py"
    explorer.session = RELEASE  # the loop is gone
    asyncio.run(explorer.settled())
    assert explorer.file == "CHANGELOG.md"


async def test_a_callback_on_another_thread_comes_back_to_the_loop(source: Source) -> None:
    explorer = ocs.explore(source)
    await explorer.settled()
    threads = []
    explorer._view.change.observe(lambda _: threads.append(asyncio.get_running_loop()), "value")
    await asyncio.to_thread(setattr, explorer._sessions.first, "value", CLEAN_UP)
    await explorer.settled()
    assert explorer.session == CLEAN_UP
    assert explorer.problem is None
    assert set(threads) == {asyncio.get_running_loop()}


async def test_it_can_be_waited_for_on_another_loop(gate: Gate) -> None:
    explorer = made_by(gate)
    waiting = asyncio.create_task(asyncio.to_thread(asyncio.run, explorer.settled()))
    gate.let_through("sessions")
    gate.let_through(RELEASE)
    await waiting
    assert explorer.session == RELEASE


async def test_the_newest_request_wins(gate: Gate) -> None:
    explorer = made_by(gate)
    gate.let_through("sessions")
    explorer.session = CLEAN_UP
    await asyncio.sleep(0)
    explorer.session = FORK
    gate.let_through(FORK)
    await explorer.settled()
    assert CLEAN_UP not in gate.asked or gate.cancelled[-1] == CLEAN_UP
    gate.let_through(CLEAN_UP)
    await explorer.settled()
    assert explorer.session == FORK
    assert "fork #1" in explorer._sessions.first.label
    assert explorer.problem is None


async def asking(gate: Gate) -> ocs.SessionExplorer:
    """An explorer that shows one session and waits for another."""
    gate.let_through("sessions")
    gate.let_through(RELEASE)
    explorer = made_by(gate)
    await explorer.settled()
    explorer.session = CLEAN_UP
    await gate.is_asked(CLEAN_UP)
    return explorer


async def test_a_closed_explorer_asks_for_nothing(gate: Gate) -> None:
    explorer = await asking(gate)
    explorer.close()
    asked = list(gate.asked)
    explorer.session = FORK
    await explorer.settled()
    assert (gate.cancelled, gate.asked) == ([CLEAN_UP], asked)


async def test_a_request_under_way_is_cancelled(gate: Gate) -> None:
    explorer = await asking(gate)
    explorer.session = RELEASE
    await explorer.settled()
    assert gate.cancelled == [CLEAN_UP]
    assert explorer.session == RELEASE


async def test_what_a_given_up_request_raises_is_nobodys_problem(gate: Gate) -> None:
    gate.at_cancel = ConnectionError
    explorer = await asking(gate)
    explorer.session = RELEASE
    await explorer.settled()
    assert gate.cancelled == [CLEAN_UP]
    assert explorer.problem is None


async def test_a_problem_stays_whatever_was_under_way(gate: Gate) -> None:
    """The message of the event before comes after the problem, and says nothing any more."""
    is_asked, may_come = asyncio.Event(), asyncio.Event()

    async def message(_id: str) -> pd.DataFrame:
        is_asked.set()
        await may_come.wait()
        return pd.DataFrame({"message_id": ["?"]})

    gate.message = message  # type: ignore[method-assign]
    gate.let_through("sessions")
    gate.let_through(RELEASE)
    explorer = made_by(gate)
    await asyncio.wait_for(is_asked.wait(), WAIT)
    explorer.file = "no such file"
    may_come.set()
    await explorer.settled()
    assert "no such file" in str(explorer.problem)
    assert "no such file" in explorer._view.alert.value
    assert explorer._view.change.value == explorer._view.message.value == ""


async def test_what_a_choice_changes_reaches_the_page_in_one_burst(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two points where others run, Python is done first; then each widget tells once."""
    bursts: list[list[tuple[str, str]]] = [[]]

    class Wire(BaseComm):
        def publish_msg(self, *_: Any, **__: Any) -> None:
            bursts[-1].append(("sent", self.comm_id))

    monkeypatch.setattr(comm, "create_comm", Wire)
    for name in ("sessions", RELEASE, CLEAN_UP):
        gate.let_through(name)
    explorer = made_by(gate)
    await explorer.settled()
    aside = explorer._loading.aside

    async def between(*make: Any, **options: Any) -> Any:
        bursts.append([])
        made = await aside(*make, **options)
        bursts.append([])
        return made

    monkeypatch.setattr(explorer._loading, "aside", between)
    for part in parts(explorer):
        part.observe(lambda change: bursts[-1].append(("changed", change.owner.model_id)))
    explorer.session = CLEAN_UP
    await explorer.settled()

    view = explorer._view
    (burst,) = (one for one in bursts if ("changed", view.heading.model_id) in one)
    burst = [(what, id) for what, id in burst if id != view.slider.model_id]  # this tells at once
    assert [what for what, _ in burst] == sorted(what for what, _ in burst)
    told = [id for what, id in burst if what == "sent"]
    assert len(set(told)) == len(told)
    panels = (
        view.heading,
        view.timeline,
        view.step,
        explorer._files.list,
        explorer._sessions.first,
    )
    assert {panel.model_id for panel in panels} <= set(told)


async def test_many_choices_in_a_row_end_at_the_last(source: Source) -> None:
    explorer = ocs.explore(source)
    await explorer.settled()
    ids = [value for _, value in explorer._sessions.first.options][:6]
    for id in [*ids, *reversed(ids)]:
        explorer.session = id
        await asyncio.sleep(0)
    await explorer.settled()
    assert explorer.problem is None
    assert explorer.session == ids[0]
    assert set(explorer.events["session_id"]) == {ids[0]}


async def test_loading_is_said_only_when_it_takes_a_while(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "SLOW", 0)
    explorer = made_by(gate)
    assert explorer._view.note.text == ""
    await until(explorer, lambda: "Loading…" in explorer._view.note.text)
    gate.let_through("sessions")
    gate.let_through(RELEASE)
    await explorer.settled()
    assert explorer._view.note.text == ""

    monkeypatch.setattr(loading, "SLOW", 3600)
    notes: list[str] = []
    explorer._view.note.observe(lambda change: notes.append(change.new), "value")
    explorer.session = CLEAN_UP
    gate.let_through(CLEAN_UP)
    await explorer.settled()
    assert notes == []
