"""An explorer as tests drive it: a source that waits at a gate, and what a page of it holds."""

import asyncio
from collections.abc import Callable
from html.parser import HTMLParser

import pandas as pd

import opencode_sessions as ocs
from opencode_sessions.widgets import SessionExplorer

CLEAN_UP = "ses_dfb94b0edffeI566j7sbRyceyc"
RELEASE = "ses_dfb90f25effeDe0GsDxWMywL0H"
FORK = "ses_dfb926e42ffeZ3kATY7retQk4m"
PLANNER = "ses_dfb934ab3ffeldERtHdUZnMe73"  # which FORK is a fork of
WAIT = 60  # seconds until a test is given up
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x1b[31m\"'"

Source = ocs.OpencodeSessionService | ocs.analytics.Frames


class Gate:
    """A service whose answers wait until they are let through; it notes who asked and gave up."""

    def __init__(self, frames: ocs.analytics.Frames) -> None:
        self._frames = frames
        self._entered = asyncio.Event()
        self._open: dict[str, asyncio.Event] = {}
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.at_cancel: type[BaseException] = asyncio.CancelledError

    async def is_asked(self, name: str) -> None:
        """Returns once somebody has asked for this."""
        while name not in self.asked:
            self._entered.clear()
            await asyncio.wait_for(self._entered.wait(), WAIT)

    def let_through(self, name: str) -> None:
        self._open.setdefault(name, asyncio.Event()).set()

    async def sessions(self) -> pd.DataFrame:
        await self._pass("sessions")
        return self._frames.sessions

    async def file_events(self, session: str, *, diffs: bool) -> pd.DataFrame:
        await self._pass(session)
        events = self._frames.file_events
        return events[events["session_id"] == session].reset_index(drop=True)

    async def message(self, message_id: str) -> pd.DataFrame:
        messages = self._frames.messages
        return messages[messages["message_id"] == message_id]

    async def _pass(self, name: str) -> None:
        self.asked.append(name)
        self._entered.set()
        try:
            await self._open.setdefault(name, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise self.at_cancel() from None


def made_by(gate: Gate) -> SessionExplorer:
    return SessionExplorer(gate)  # type: ignore[arg-type]


async def until(explorer: SessionExplorer, shown: Callable[[], bool]) -> None:
    """Returns when one of the explorer's own panels makes it true."""
    happened = asyncio.Event()
    view = explorer._view
    for panel in (view.note, view.alert, view.change):
        panel.observe(lambda _: happened.set() if shown() else None)
    if not shown():
        await asyncio.wait_for(happened.wait(), WAIT)


class Elements(HTMLParser):
    """The elements of a page; attributes that could run something are refused."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "href"]


def text_of(html: str) -> str:
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(html)
    parser.close()
    return "".join(found)
