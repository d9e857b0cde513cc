"""What a notebook shows, letter by letter as it was last looked at.

`python tests/test_html.py` writes what it is now into tests/data/html, to be looked at in a browser
and committed.
"""

import asyncio
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from exploring import CLEAN_UP

import opencode_sessions as ocs

KEPT = Path(__file__).parent / "data" / "html"
STYLE = re.compile("<style>.*?</style>", re.DOTALL)  # it has a file of its own


async def _shown() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        service = ocs.OpencodeSessionService()
        report = await service.import_opencode(ocs.demo.unpack(folder), progress=False)
    frames = await service.frames(diffs=True, parts=True)
    events = frames.file_events[frames.file_events["session_id"] == CLEAN_UP].head(12)
    explorer = ocs.explore(frames)
    explorer.event = frames.file_events.query("status == 'error' and event_type == 'edit'").iloc[0]
    failed = explorer._view.change.value
    explorer.event = frames.file_events.query("event_type == 'edit' and deletions == 1").iloc[0]
    timeline, _ = ocs.FileTimeline(events)._repr_mimebundle_()
    session = await service.get_session(CLEAN_UP)
    assert session is not None
    (message, *_) = await service.list_messages(session)
    return {
        "service": service._repr_html_(),
        "report": re.sub(r"[\d.]+ s\b", "… s", report._repr_html_()).replace(folder, "…"),
        "session": session._repr_html_(),
        "message": message._repr_html_(),
        "frames": frames._repr_html_(),
        "timeline": STYLE.sub("", timeline["text/html"]),
        "explorer": STYLE.sub("", explorer._repr_mimebundle_()["text/html"]),
        "failed_edit": failed,
        "diff": explorer._view.change.value,
    }


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    return asyncio.run(_shown())


def _lines(html: str) -> Iterator[str]:
    """A tag a line, so that a difference can be read."""
    return (line + "\n" for line in re.sub("(?<!^)<(?!/)", "\n<", html).split("\n"))


NAMES = [
    *("service", "report", "session", "message", "frames"),
    *("timeline", "explorer", "failed_edit", "diff"),
]


@pytest.mark.parametrize("name", NAMES)
def test_it_shows_as_it_was_last_looked_at(shown: dict[str, str], name: str) -> None:
    kept = (KEPT / f"{name}.html").read_text(encoding="utf-8")
    assert "".join(_lines(shown[name])) == kept


def test_each_is_looked_at(shown: dict[str, str]) -> None:
    assert sorted(shown) == sorted(NAMES) == sorted(path.stem for path in KEPT.glob("*.html"))


if __name__ == "__main__":
    for name, html in asyncio.run(_shown()).items():
        (KEPT / f"{name}.html").write_text("".join(_lines(html)), encoding="utf-8")
