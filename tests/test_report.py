"""A report: one file, of what was asked for, with nothing lost unsaid. `browser/` has it opened."""

import asyncio
import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from exploring import CLEAN_UP, HOSTILE
from handmade import example
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames
from opencode_sessions.cli import app
from opencode_sessions.reporting import choice, limits, whole

REVIEW = "Review before the release"  # which called four others


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.is_script = False
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.is_script = tag == "script"
        if self.is_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.is_script = False

    def handle_data(self, data: str) -> None:
        if self.is_script:
            self.scripts[-1] += data

    def all(self, tag: str, kind: str = "") -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag and kind in (a.get("class") or "").split(" ")]


@pytest.fixture(scope="module")
def one(as_frames: Frames, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("report") / "out.html"
    made = ocs.report(as_frames, path, session=CLEAN_UP)
    assert (made.path, made.sessions, made.messages, made.notes) == (path, 1, 200, ())
    assert made.bytes == path.stat().st_size
    return Page(path)


def test_a_session_is_told_with_all_that_happened(one: Page, as_frames: Frames) -> None:
    events = as_frames.file_events.query("session_id == @CLEAN_UP")
    calls = as_frames.tool_calls.query("session_id == @CLEAN_UP")
    shown = [a for _, a in one.tags if "call" in (a.get("class") or "").split(" ")]
    assert len(shown) == len(calls)
    places = [int(place) for a in shown for place in (a.get("data-places") or "").split()]
    assert sorted(places) == [*range(len(events))]
    assert (
        len([a for a in shown if "failed" in (a["class"] or "")])
        == calls["status"].isin(["error", "denied", "aborted"]).sum()
    )
    for text in (
        "Clean up before 0.3",
        "Before 0.3 I want to clean up",
        "+290 \N{MINUS SIGN}49",
        "<b>27</b> files changed",  # four of them moved
        "<h3>30 files</h3>",  # read or changed
        "$2.01",
    ):
        assert text in one.html
    diffs = len(events["diff"].dropna())
    assert one.html.count("<table class='ocs-diff'>") == diffs


def test_a_page_loads_nothing_and_runs_its_own_script_alone(one: Page) -> None:
    (policy,) = [
        a["content"] or ""
        for a in one.all("meta")
        if a.get("http-equiv") == "Content-Security-Policy"
    ]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    module = next(
        text
        for text, (_, attrs) in zip(
            one.scripts, [t for t in one.tags if t[0] == "script"], strict=True
        )
        if attrs.get("type") == "module"
    )
    digest = base64.b64encode(hashlib.sha256(module.encode()).digest()).decode()
    assert allowed == {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest}'",
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    for _, attrs in one.tags:
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith("#")
        assert not [name for name in attrs if name.startswith("on")]
    assert "url(" not in one.html.split("<body")[0]


def test_the_timelines_script_is_the_widgets(one: Page) -> None:
    widget = Path(ocs.__file__).parent / "widgets" / "static" / "timeline.js"
    assert widget.read_text(encoding="utf-8") in one.scripts[-1]


def test_a_report_needs_no_widgets(tmp_path: Path) -> None:
    script = (
        "import sys, opencode_sessions as ocs; from handmade import example;"
        f"ocs.report(example(), {str(tmp_path / 'out.html')!r});"
        "print({'ipywidgets', 'anywidget', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


async def test_a_service_is_awaited_and_gives_the_same_page(
    in_memory: ocs.OpencodeSessionService, one: Page, tmp_path: Path
) -> None:
    await ocs.report(in_memory, tmp_path / "out.html", session=CLEAN_UP)
    assert (tmp_path / "out.html").read_text(encoding="utf-8") == one.html


def test_a_session_comes_with_those_it_called(as_frames: Frames, tmp_path: Path) -> None:
    (id,) = as_frames.sessions.query("title == @REVIEW").session_id
    made = ocs.report(as_frames, tmp_path / "out.html", session=id)
    page = Page(made.path)
    assert made.sessions == 5
    anchors = {a["id"] for a in page.all("section", "session")}
    links = [a["href"] for a in page.all("a") if re.fullmatch(r"#s\d+", a.get("href") or "")]
    assert {link[1:] for link in links if link} == anchors
    assert len(links) == 5 + 4  # in the list, and where each was called


def test_a_project_lists_its_sessions_and_tells_each(as_frames: Frames, tmp_path: Path) -> None:
    for project in ("trailmap", "/home/dev/trailmap"):
        made = ocs.report(as_frames, tmp_path / "out.html", project=project)
        assert made.sessions == 20
        assert made.bytes < 5_000_000
    page = Page(made.path)
    assert len(page.all("section", "session")) == 20
    assert "<h1>trailmap</h1>" in page.html
    for said in ("1 more change unknown", "2 more changes unknown"):
        assert f">{said}<" in page.html


def test_what_is_not_there_is_said(as_frames: Frames, tmp_path: Path) -> None:
    with pytest.raises(ocs.SessionNotFound, match=r"No session 'nope'.*Release 0\.3\.0"):
        ocs.report(as_frames, tmp_path / "out.html", session="nope")
    assert not (tmp_path / "out.html").exists()


async def test_a_project_without_sessions_is_empty_wherever_one_asks(
    in_memory: ocs.OpencodeSessionService,
    as_frames: Frames,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A filter that nothing passes, as of the frames: and the log names what there is, once."""
    out = tmp_path / "out.html"

    def said() -> list[str]:
        texts = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return texts

    told = ["No session is of project 'trialmap'. Projects: /home/dev/trailmap."]
    frames = await in_memory.frames(project="trialmap")
    assert (len(frames.sessions), len(frames.file_events), said()) == (0, 0, told)
    assert (len(await in_memory.search("parse", project="trialmap")), said()) == (0, told)
    for format in ("parquet", "csv"):
        done = await ocs.export(in_memory, tmp_path / format, format, project="trialmap")
        assert (done.sessions, said()) == (0, told)
        assert ocs.read_export(tmp_path / format).sessions.empty
    for made in (
        ocs.report(as_frames, out, project="trialmap"),
        await ocs.report(in_memory, out, project="trialmap"),
    ):
        assert (made.sessions, made.messages) == (0, 0)
        assert "There are no sessions here" in out.read_text()
        assert "trailmap" not in out.read_text()
    assert said() == told * 2
    assert (await ocs.OpencodeSessionService().frames(project="trialmap")).sessions.empty
    assert said() == []


@pytest.mark.parametrize("command", ["report out.html", "search parse", "export --to out"])
def test_a_command_names_the_projects_there_are(
    on_file: Path, tmp_path: Path, command: str
) -> None:
    options = ["--db", str(on_file), "--project", "trialmap"]
    done = subprocess.run(
        [sys.executable, "-m", "opencode_sessions.cli", *command.split(), *options],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    told = "No session is of project 'trialmap'. Projects: /home/dev/trailmap.\n"
    assert done.stderr.startswith(told)


async def test_sessions_without_much_have_a_page_too(tmp_path: Path) -> None:
    service, path = ocs.OpencodeSessionService(), tmp_path / "out.html"
    await ocs.report(service, path)
    assert "There are no sessions here" in path.read_text()
    session = await service.get_or_create_session("ses_1", None, None, None, None)
    await ocs.report(service, path)
    assert "no messages yet" in path.read_text()
    await service.persist_message(session, "user", [{"type": "text", "text": "Hello?"}])
    await ocs.report(service, path)
    assert "Hello?" in path.read_text()
    assert "No file was read, written or changed" in path.read_text()


def test_frames_without_texts_say_how_to_get_them(tmp_path: Path) -> None:
    made = ocs.report(example(), tmp_path / "out.html")
    assert "no diffs and no parts" in made.notes[0]
    page = Page(made.path)
    calls = [a for _, a in page.tags if "call" in (a.get("class") or "").split(" ")]
    assert [a.get("data-places") for a in calls] == [str(n) for n in range(7)]


@pytest.fixture
def hostile() -> Frames:
    """A session in which everything that can be typed was typed to do harm."""

    async def fill() -> Frames:
        service = ocs.OpencodeSessionService()
        session = await service.get_or_create_session("s", HOSTILE, f"/a/{HOSTILE}", None, HOSTILE)
        state = {"status": "error", "input": {"filePath": HOSTILE, HOSTILE: HOSTILE}}
        parts: list[dict[str, Any]] = [
            {"type": "text", "text": HOSTILE},
            {"type": "reasoning", "text": HOSTILE * 3},
            {"type": "tool_use", "name": "bash", "input": {"command": HOSTILE}},
            {"type": "tool_use", "name": "edit", "input": {"path": HOSTILE, "diff": f"-{HOSTILE}"}},
            {"type": "tool", "tool": HOSTILE, "state": {**state, "error": HOSTILE}},
            {"type": "tool", "tool": "task", "state": {"title": HOSTILE, "output": HOSTILE}},
            {"type": "file", "filename": HOSTILE},
        ]
        for role in ("user", "assistant"):
            message = await service.persist_message(session, role, parts)
            await service.persist_file_events(message, parts)
        return await service.frames(diffs=True, parts=True)

    return asyncio.run(fill())


def test_what_was_typed_is_text(hostile: Frames, tmp_path: Path) -> None:
    page = Page(ocs.report(hostile, tmp_path / "out.html").path)
    assert [t for t, _ in page.tags if t in ("img", "iframe", "object", "embed", "link")] == []
    assert len(page.scripts) == 2  # the timeline's numbers, and the page's own
    assert "\u202e" not in page.html
    assert "\x1b" not in page.html
    assert "⟨U+202E⟩" in page.html
    assert "alert(1)" in json.dumps(json.loads(page.scripts[0]))  # as text in a tooltip


# -- large ones --------------------------------------------------------------------------------


def test_a_large_session_is_cut_until_it_fits_and_says_so(
    as_frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    for budget in (4_400_000, 300_000, 200_000):
        for module in (limits, whole):
            monkeypatch.setattr(module, "BUDGET", budget)
        made = ocs.report(as_frames, tmp_path / "out.html", session=CLEAN_UP)
        sizes.append(made.bytes)
        assert made.bytes <= max(budget, 330_000)
        page = made.path.read_text()
        assert all(note in page for note in made.notes)
        assert ("letters are left out" in "".join(made.notes)) == (budget < 4_400_000)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] * 0.7


def only_level(monkeypatch: pytest.MonkeyPatch, level: limits.Limits) -> None:
    for module in (limits, whole):
        monkeypatch.setattr(module, "LEVELS", (level,))


def test_of_very_many_messages_the_middle_is_left_out(
    as_frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_level(monkeypatch, limits.LEVELS[0]._replace(messages=50, marks=40))
    made = ocs.report(as_frames, tmp_path / "out.html", session=CLEAN_UP)
    assert "the middle is left out" in made.notes[0]
    page = Page(made.path)
    assert "150 messages of the middle are not shown" in page.html
    assert "Not told by any message" not in page.html
    assert "156 earlier events are not drawn" in page.html
    shown = [a for _, a in page.tags if "call" in (a.get("class") or "").split(" ")]
    told = {place for a in shown for place in (a.get("data-places") or "").split()}
    of_timeline = json.loads(page.scripts[0])
    assert {*of_timeline["said"]} == told
    assert len(base64.b64decode(of_timeline["data"]["kind"])) == 196  # the marks are all there
    messages = as_frames.messages.query("session_id == @CLEAN_UP")["message_id"].tolist()
    first, last = messages[: 50 // 8], messages[50 // 8 - 50 :]
    events = as_frames.file_events.query("session_id == @CLEAN_UP")["message_id"]
    assert told == {str(at) for at in range(196) if events.iloc[at] in (*first, *last)}


def test_many_long_sessions_share_the_page(
    as_frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = as_frames.messages["session_id"].value_counts()
    only_level(monkeypatch, limits.LEVELS[0]._replace(messages=400))
    made = ocs.report(as_frames, tmp_path / "out.html")
    (most,) = re.findall(r"more than (\d+) messages the middle is left out", made.notes[0])
    assert 400 - len(counts) < counts.clip(upper=int(most)).sum() <= 400
    left_out = re.findall(r"(\d+) messages? of the middle", made.path.read_text())
    assert sum(map(int, left_out)) == (counts - int(most)).clip(lower=0).sum()


@given(st.lists(st.integers(1, 50), max_size=9), st.integers(0, 200))
def test_the_most_of_each_is_the_most(counts: list[int], most: int) -> None:
    each = limits.most_of_each(counts, most)

    def shown(each: int) -> int:
        return sum(min(count, each) for count in counts)

    assert shown(each) <= most
    assert each == max(counts, default=0) or shown(each + 1) > most


def test_the_last_that_goes_is_the_live_timeline(
    as_frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "BUDGET", 1)
    made = ocs.report(as_frames, tmp_path / "out.html", session=CLEAN_UP)
    assert "only the pictures are here" in " ".join(made.notes)
    page = Page(made.path)
    assert page.html.count("<figure") == page.html.count("<div class='still'>") == 1
    assert len(page.scripts) == 1


def test_a_page_that_stays_too_large_says_so(
    on_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.html"
    monkeypatch.setattr(whole, "TOO_LARGE", 1)
    done = CliRunner().invoke(app, ["report", str(out), "--db", str(on_file)])
    assert done.exit_code == 0
    assert "MB for one page: name a session, or a project." in done.stderr
    assert "MB for one page: name a session, or a project." in out.read_text()


async def test_letters_of_several_bytes_count_as_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ocs.OpencodeSessionService()
    session = await service.get_or_create_session("ses_1", None, None, None, None)
    for _ in range(50):
        await service.persist_message(session, "user", [{"type": "text", "text": "中" * 5_000}])
    for module in (limits, whole):
        monkeypatch.setattr(module, "BUDGET", 400_000)
    made = await ocs.report(service, tmp_path / "out.html")
    assert made.bytes <= 400_000
    assert "letters are left out" in made.notes[0]


async def test_of_more_sessions_than_can_be_listed_the_newest_are(
    as_frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "SESSIONS", 3)
    monkeypatch.setattr(whole, "SESSIONS", 3)
    monkeypatch.setattr(whole, "LISTED", 15)
    made = ocs.report(as_frames, tmp_path / "out.html")
    assert made.notes[0].startswith("The 3 newest sessions are told in full; 12 older ones")
    assert made.notes[1] == "5 sessions before these are not on the page."
    assert made.path.read_text().count("<tr><td class='soft'>") == 15


async def test_of_very_many_sessions_the_oldest_are_listed(
    in_memory: ocs.OpencodeSessionService,
    as_frames: Frames,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (choice, whole):
        monkeypatch.setattr(module, "SESSIONS", 3)
    made = await ocs.report(in_memory, tmp_path / "out.html")
    page = Page(made.path)
    assert made.sessions == len(page.all("section", "session")) == 3
    assert "17 older ones are listed" in made.notes[0]
    assert page.html.count("<tr><td class='soft'>") == 20
    assert page.html == Page(ocs.report(as_frames, tmp_path / "frames.html").path).html
    (id,) = as_frames.sessions.query("title == @REVIEW").session_id
    family = await ocs.report(in_memory, tmp_path / "family.html", session=id)
    assert f"<h2>{REVIEW}</h2>" in family.path.read_text()  # the oldest of its family


# -- shared ------------------------------------------------------------------------------------


def test_a_shared_page_says_what_was_replaced(as_frames: Frames, tmp_path: Path) -> None:
    made = ocs.report(as_frames, tmp_path / "out.html", session=CLEAN_UP, names=["trailmap"])
    page = made.path.read_text()
    assert made.replaced is not None
    assert set(made.replaced["kind"]) == {"name"}
    assert "trailmap" not in page.casefold()
    assert "<h2>Replaced</h2>" in page
    assert "names and places are replaced by marks" in page
    bare = ocs.report(as_frames, tmp_path / "bare.html", session=CLEAN_UP, structure_only=True)
    said = bare.path.read_text()
    assert "clean up" not in said.casefold()
    assert "+290 \N{MINUS SIGN}49" in said


def test_the_command_writes_a_page(on_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"

    def run(*options: str) -> str:
        done = CliRunner().invoke(app, ["report", str(out), "--db", str(on_file), *options])
        assert done.exit_code == 0, done.output
        return done.output

    assert "1 session, 0." in run("--session", CLEAN_UP)
    assert "Clean up before 0.3" in out.read_text()
    assert "Replaced: name" in run("--session", CLEAN_UP, "--share", "--name", "trailmap")
    assert "trailmap" not in out.read_text().casefold()
    run("--session", CLEAN_UP, "--structure-only")
    assert "Clean up" not in out.read_text()
    done = CliRunner().invoke(app, ["report", str(out), "--db", str(on_file), "--session", "nope"])
    assert done.exit_code == 1
    assert "No session 'nope'" in done.stderr
