"""What opencode gives out, how each format is recognised, and what it cannot tell.

- ``{"info": ..., "messages": [...]}``: an export, one session; with ``--sanitize``, marks stand for
  what it said;
- ``{"id": "ses_...", ...}``, ``[{"info": ..., "parts": [...]}, ...]`` and
  ``[{"id": ..., "worktree": ...}]``: ``GET /session/:id``, ``GET /session/:id/message`` and
  ``GET /project``, which belong together by the session's and the project's id;
- lines of ``{"type": ..., "sessionID": ..., "part": ...}``: `opencode run --format json`.
"""

import codecs
import re
from pathlib import Path
from typing import Literal

from ..errors import SourceError
from .source import why

Format = Literal["export", "server", "run", "sanitized"]
LABELS: dict[Format, str] = {
    "export": "opencode export",
    "server": "answers of opencode serve",
    "run": "opencode run --format json",
    "sanitized": "opencode export --sanitize",
}
HINT = f"Give what one of these gives: {', '.join(LABELS.values())}."
HEAD_BYTES = 4096
HEADS: tuple[tuple[Format, "re.Pattern[bytes]"], ...] = (
    ("sanitized", re.compile(rb'\s*\{\s*"info"\s*:.*"\[redacted:session-', re.DOTALL)),
    ("export", re.compile(rb'\s*\{\s*"info"\s*:')),
    ("server", re.compile(rb'\s*\[\s*(\]|\{\s*"(info|id|parts)"\s*:)')),
    ("server", re.compile(rb'\s*\{\s*"id"\s*:\s*"ses_')),
    ("run", re.compile(rb'\s*\{[^\n]*"sessionID"\s*:[^\n]*"part"\s*:|\s*\{\s*"type"\s*:')),
)
# A mark of --sanitize: a text, or an object in place of a call's input or metadata.
MARK = re.compile(rb'\{\s*"redacted"\s*:\s*"[^"\\]*"\s*\}|"\[redacted:[^"\\]*"(?!\s*:)')
# What shells put before redirected text.
BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}

TOKENS = tuple(
    f"tokens_{name}" for name in ("input", "output", "reasoning", "cache_read", "cache_write")
)
SUMS = ("reported_cost_usd", *(f"reported_{name}" for name in TOKENS))
SESSION = (
    *("project_id", "title", "opencode_version", "created_at", "updated_at", "archived_at"),
    *("root_session_id", "parent_session_id", "is_fork_copy", "is_undone", "cost_usd", *TOKENS),
    *("reported_files", "reported_additions", "reported_deletions", *SUMS),
)
# The columns of the frames, `source` aside, that each kind of source may not be able to tell as the
# database does: they are unknown there, or follow from what is. An export and the server's answers
# tell all; run lines give rows of answers alone, and a sanitized export gives events of commands.
UNTOLD: dict[str, tuple[str, ...]] = {
    "export": (),
    "server": (),
    "storage": SUMS,  # which opencode has since it has a database
    "messages alone": SESSION,
    "run": (
        *SESSION,
        *("project", "workdir", "turns", "messages", "turn", "seq", "actor", "agent_name"),
        *("provider", "model", "parent_message_id", "duration_s", "finish", "error"),
        *("is_compaction", "file_path", "file_events", "parts"),
    ),
    "sanitized": (
        *("project", "workdir", "title", "content", "parts", "input", "input_hash", "command"),
        "file_events",
        # an aborted command says so in its output alone
        *("status", "exit_code", "output_bytes", "evidence", "seq"),
    ),
}


def recognised(file: Path) -> Format | None:
    """The format of a file, by how it begins; None if it is nothing opencode gives out.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return format_of(opened.read(HEAD_BYTES))
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {why(error)}.") from error


def format_of(data: bytes) -> Format | None:
    """The format of what begins like this."""
    head = decoded(data[:HEAD_BYTES])
    return next((format for format, pattern in HEADS if pattern.match(head)), None)


def decoded(data: bytes) -> bytes:
    """JSON as UTF-8, whatever a shell made of it."""
    for bom, encoding in BOMS.items():
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, "replace").encode()
    return data


def without_marks(data: bytes) -> bytes:
    """A sanitized export with nothing in place of its marks."""
    return MARK.sub(lambda mark: b"{}" if mark[0].startswith(b"{") else b"null", data)
