"""The box one asks for words in, and the places they stand: picking one goes there."""

from collections.abc import Callable
from typing import Any

import ipywidgets
import pandas as pd

from ..showing.panels import note_html
from ..showing.source import Row, Source, is_known, row
from ..shown import number_of, visible
from .loading import Loading
from .painting import Painting

SHOWN = 100  # answers: who has more asks for more words
ROWS = 6
LETTERS = 150  # of an answer's line


class FindBox:
    """Words to look for in all sessions; asks when Enter is pressed, puts itself away when empty.

    `go` gets the session's id and the event's, None where the answer is of no event; `done` is told
    when the answers are there.
    """

    def __init__(
        self,
        source: Source,
        painting: Painting,
        loading: Loading,
        go: Callable[[str, str | None], None],
        done: Callable[[], None],
    ) -> None:
        self._source, self._painting, self._loading = source, painting, loading
        self._go, self._done = go, done
        self._found = pd.DataFrame()
        self.words = ipywidgets.Text(
            placeholder="search all sessions…",
            tooltip="Words in prompts, answers, outputs, commands, paths and changes; then Enter",
            continuous_update=False,
            layout={"width": "240px"},
        )
        self.list = ipywidgets.Select(
            options=(), rows=ROWS, tooltip="Where these words stand", layout={"width": "99%"}
        )
        self.list.add_class("ocs-found")
        self.note = ipywidgets.HTML()
        self.words.observe(lambda _: loading.post(self._ask), "value")
        self.list.observe(self._picked, "index")
        self._show()

    def _ask(self) -> None:
        self._loading.start("find", self._find)

    async def _find(self) -> None:
        words = self.words.value
        self._found = pd.DataFrame()
        if words:
            self._found = await self._source.search(words, limit=SHOWN, progress=False)
        self._show()
        self._done()

    def _show(self) -> None:
        answers = [row(self._found, place) for place in range(len(self._found))]
        with self._painting(), self.list.hold_sync():
            self.list.index = None
            self.list.options = [(_label(answer), n) for n, answer in enumerate(answers)]
        self.list.rows = min(max(len(answers), 2), ROWS)
        self.list.layout.display = None if answers else "none"
        self.note.layout.display = None if self.words.value else "none"
        newest = "the newest " if len(answers) == SHOWN else ""
        said = newest + number_of(len(answers), "place") if answers else "No text has these words."
        self.note.value = note_html(said)

    def _picked(self, change: Any) -> None:
        if change.new is not None and not self._painting.is_ours:
            answer = row(self._found, change.new)
            self._loading.post(lambda: self._loading.start("find", lambda: self._open(answer)))

    async def _open(self, answer: Row) -> None:
        session = str(answer["session_id"])
        event = str(answer["event_id"]) if is_known(answer["event_id"]) else None
        if event is None and is_known(answer["message_id"]):
            events = await self._source.file_events(session, diffs=False)
            ids = events["event_id"][events["message_id"] == answer["message_id"]]
            event = None if ids.empty else str(ids.iloc[0])
        self._go(session, event)


def _label(answer: Row) -> str:
    time = f"{answer['time']:%Y-%m-%d %H:%M}" if is_known(answer["time"]) else ""
    file = f"{answer['file_path']}: " if is_known(answer["file_path"]) else ""
    is_path = answer["kind"] == "path"
    text = f"{time}  {answer['kind']:<7}  {file if not is_path else ''}{answer['snippet']}"
    return visible(text)[:LETTERS]
