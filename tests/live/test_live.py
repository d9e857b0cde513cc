"""A real opencode at work, imported while it runs; needs opencode on PATH or in OPENCODE_BIN."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_llm import FakeModel, call_id
from lab import Lab, opencode

import opencode_sessions as ocs

OPENCODE = opencode()
PROMPT = "Greet politely"
GREETING = "def greet():\n    return 'Hi'\n"
POLITE = {"oldString": "'Hi'", "newString": "'Good day'"}
NOTE = "Greets.\nPolitely.\n"


@pytest.mark.skipif(
    OPENCODE is None, reason="there is no opencode on PATH, and OPENCODE_BIN names none"
)
async def test_a_running_opencode_is_imported_as_it_works(tmp_path: Path) -> None:
    project = tmp_path / "project"
    calls: list[tuple[str, dict[str, Any]]] = [
        ("read", {"filePath": "greet.py"}),
        ("edit", {"filePath": str(project / "greet.py"), **POLITE}),
        ("write", {"filePath": "docs/note.md", "content": NOTE}),
        ("read", {"filePath": str(tmp_path / "private.md")}),
        ("bash", {"command": "cat greet.py", "description": "Shows the file"}),
    ]
    script = {PROMPT: [{"tools": [call]} for call in calls]}
    assert OPENCODE
    with FakeModel(script) as model:
        lab = Lab(OPENCODE, tmp_path / "home", model.url)
        lab.repository(project, {"greet.py": GREETING})
        with lab.serve(project) as server:
            session = server.call("/session", {"title": "Greetings"})["id"]
            server.prompt(session, PROMPT)
            for end in ("-wal", "-shm"):
                assert (lab.data / f"opencode.db{end}").stat().st_size > 0
            async with await ocs.open(tmp_path / "ours.db") as svc:
                report = await svc.import_opencode(lab.data / "opencode.db", progress=False)
                again = await svc.import_opencode(lab.data / "opencode.db", progress=False)
                frames = await svc.frames()
            assert server.call(f"/session/{session}")["title"] == "Greetings"  # unharmed
    assert (project / "greet.py").read_text() == GREETING.replace("'Hi'", "'Good day'")
    assert (project / "docs" / "note.md").read_text() == NOTE
    assert (report.problems, report.tool_calls.new, again.tool_calls.new) == ([], len(calls), 0)
    (row,) = frames.sessions.to_dict("records")
    assert (row["opencode_session_id"], row["title"]) == (session, "Greetings")
    assert (row["project"], row["opencode_version"]) == (str(project), lab.version())
    columns = ["call_id", "event_type", "file_path", "status", "additions", "deletions"]
    events = frames.file_events[columns].astype(object)
    assert [
        tuple(None if pd.isna(v) else v for v in e) for e in events.itertuples(index=False)
    ] == [
        (call_id(0), "read", "greet.py", "completed", None, None),
        (call_id(1), "edit", "greet.py", "completed", 1, 1),
        (call_id(2), "write", "docs/note.md", "completed", 2, 0),
        (call_id(3), "read", str(tmp_path / "private.md"), "denied", None, None),
        (call_id(4), "bash", None, "completed", None, None),
    ]
