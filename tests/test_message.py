"""The message around an event: its prompt, what was thought and said, and the call it is of."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from conftest import Recording
from exploring import HOSTILE, Elements, text_of

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames
from opencode_sessions.showing import message
from opencode_sessions.showing.message import message_html
from opencode_sessions.showing.source import row

OURS = {
    *("div", "span", "b", "i", "code", "pre", "details", "summary", "dl", "dt", "dd"),
}


def of_each(frames: Frames, step: int = 1) -> Iterator[tuple[dict[str, Any], str]]:
    """Events, with the message around each."""
    by_session = dict(iter(frames.messages.groupby("session_id", observed=True)))
    for place in range(0, len(frames.file_events), step):
        event = dict(row(frames.file_events, place))
        yield event, message_html(by_session[event["session_id"]], event)


def test_events_of_all_recordings_find_their_call(recordings: dict[str, Recording]) -> None:
    for recording in recordings.values():
        frames = ocs.read_opencode(recording.database, parts=True)
        for event, html in of_each(frames, 3):
            assert Elements(html).names <= OURS
            assert "ocs-prompt" in html
            assert "ocs-call" in html
            assert f"<b>{event['tool']}</b>" in html


@pytest.fixture(scope="module")
def events(as_frames: Frames) -> list[tuple[dict[str, Any], str]]:
    return list(of_each(as_frames))


def test_reasoning_is_folded_and_the_output_open(
    events: list[tuple[dict[str, Any], str]],
) -> None:
    thought = [html for _, html in events if "<details class='ocs-reasoning'>" in html]
    assert thought
    reads = [html for event, html in events if event["event_type"] == "read"]
    assert all("<details open><summary>Output" in html for html in reads if "Error" not in html)
    failed = [html for event, html in events if event["status"] == "error"]
    assert all("<summary>Error" in html for html in failed)  # folded: the change says it as well


def test_a_command_has_its_exit_code(events: list[tuple[dict[str, Any], str]]) -> None:
    commands = [text_of(html) for event, html in events if event["event_type"] == "bash"]
    assert any("exit 0" in text for text in commands)
    assert any("exit 1" in text for text in commands)


# -- made up ------------------------------------------------------------------------------------


def stored(*parts: dict[str, Any], **columns: Any) -> pd.DataFrame:
    """A prompt and the answer with these parts."""
    common = {"session_id": "s1", "turn": 1, "agent_name": "build", "model": None, "error": None}
    prompt = common | {
        "message_id": "m1", "role": "user", "seq": 0, "content": "Do it",
        "parts": [{"type": "text", "text": "Do it"}, {"type": "file", "filename": "plan.png"},
                  {"type": "text", "text": "as read by a tool", "synthetic": True}],
    }  # fmt: skip
    answer = common | {
        "message_id": "m2",
        "role": "assistant",
        "seq": 1,
        "content": "Done",
        "parts": list(parts),
    }
    return pd.DataFrame([prompt, answer | columns])


def shown(messages: pd.DataFrame, **event: Any) -> str:
    return message_html(
        messages, {"event_id": "p1.0", "message_id": "m2", "call_id": "c1", "tool": "edit"} | event
    )


def test_the_prompt_is_what_the_user_wrote() -> None:
    text = text_of(shown(stored()))
    assert "Prompt Do it [plan.png]" in text.replace("\n", " ")
    assert "as read by a tool" not in text


def test_calls_beside_the_chosen_one_are_a_line_each() -> None:
    calls = [{"type": "tool", "id": f"p{n}", "callID": "c1", "tool": "edit",
              "state": {"status": "completed", "input": {"n": n}, "title": f"file {n}",
                        "output": "ok"}} for n in range(3)]  # fmt: skip
    html = shown(stored(*calls))
    assert html.count("ocs-call") == 1
    assert "also edit file 0" in text_of(html) and "also edit file 2" in text_of(html)
    assert "<dt>n</dt><dd><pre>1</pre></dd>" in html


def test_an_application_s_call_is_found_by_its_id_or_by_being_the_only_one() -> None:
    one = {"type": "tool_use", "name": "edit", "id": "c1", "input": {"path": "a.py"}}
    two = one | {"id": "c2", "input": {"path": "b.py"}}
    assert "a.py" in shown(stored(one, two)).partition("ocs-call")[2].partition("ocs-other")[0]
    nameless = {"type": "tool_use", "name": "edit", "input": {"path": "c.py"}}
    beside = nameless | {"input": {"path": "/home/dev/shop/d.py"}}
    html = shown(stored(nameless, beside), call_id=None, file_path="d.py")
    assert "d.py" in html.partition("ocs-call")[2]
    assert "No output was recorded" in shown(stored(nameless), call_id=None)
    assert "which one is not known" in shown(stored(nameless, nameless), call_id=None)


def test_lines_of_run_format_json_are_read_as_parts() -> None:
    line = {"type": "text", "part": {"type": "text", "text": "I will edit it."}}
    assert "I will edit it." in shown(stored(line))


def test_what_is_missing_is_said() -> None:
    assert "is not stored" in shown(stored(), message_id="m9")
    without = stored().drop(columns="parts")
    assert "parts=True" in shown(without)
    assert "Done" in text_of(shown(without)) and "Do it" in text_of(shown(without))


def test_long_texts_are_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message, "LINES", 5)
    text = "line\n" * 100
    html = shown(stored({"type": "text", "text": text}))
    assert html.count("line\n") == 5
    assert "… 476 more characters are not shown" in html


def test_all_of_it_is_text() -> None:
    call = {"type": "tool", "id": "p1", "callID": HOSTILE, "tool": "edit",
            "state": {"status": "error", "input": {HOSTILE: HOSTILE, "more": [{"a": HOSTILE}]},
                      "title": HOSTILE, "error": HOSTILE}}  # fmt: skip
    other = {"type": "tool", "id": "p2", "tool": HOSTILE, "state": {"output": HOSTILE}}
    said = [{"type": kind, "text": HOSTILE} for kind in ("text", "reasoning")]
    messages = stored(call, other, *said, error=HOSTILE, agent_name=HOSTILE, model=HOSTILE)
    html = shown(messages, tool="edit", call_id=HOSTILE)
    assert Elements(html).names <= OURS
    assert not {"\u202e", "\x1b"} & set(html)
    assert html.count("&lt;script&gt;") >= 10
