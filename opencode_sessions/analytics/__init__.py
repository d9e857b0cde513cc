"""From sessions to answers: frames in, tidy frames out, each module one question."""

from .activity import activity
from .compare import compare_with_opencode
from .files import file_summary, file_timeline
from .frames import Frames
from .loading import load
from .sessions import session_summary

__all__ = [
    "Frames",
    "activity",
    "compare_with_opencode",
    "file_summary",
    "file_timeline",
    "load",
    "session_summary",
]
