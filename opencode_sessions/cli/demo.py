"""What `opencode-sessions demo` does: import, show, make the page, say what comes next."""

import asyncio
import os
import shlex
import shutil
import sys
from pathlib import Path

import opencode_sessions as ocs

from ..analytics import Frames, file_summary, file_timeline
from .page import notebook_folder, write_page
from .tables import clean, print_files, print_sessions, print_timeline, say

ROWS = 10  # of a table


def show(out: Path) -> None:
    """Show this machine's sessions, else the recording; `out` gets the database and the page.

    Raises:
        OpencodeSessionsError: the database could not be written, or the notebook failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    database = out / "sessions.db"
    frames = asyncio.run(_imported(database))
    print_sessions(frames.sessions, ROWS)
    summary = file_summary(frames.file_events)
    path = ""
    if not summary.empty:
        print_files(summary, frames.file_events, ROWS)
        path = summary["file_path"].iloc[0]
        print_timeline(file_timeline(frames.file_events, path), path, ROWS)

    environ = {"OPENCODE_SESSIONS_DB": str(database.resolve())}
    if frames.sessions["origin"].eq(ocs.demo.ORIGIN).any():
        # The notebook then looks for opencode's data itself, and is to find as little.
        environ |= {"XDG_DATA_HOME": str((out / "recording").resolve()), "OPENCODE_DB": ""}
    print("Running the first notebook on the same sessions ...", flush=True)
    page = str(out / "01_first_look.html")
    try:
        write_page(notebook_folder() / "01_first_look.ipynb", Path(page), environ)
    except ImportError as error:
        page = f"needs {error.name}: pip install 'opencode-sessions[lab]', then again"
    command = _command()
    file = shlex.quote(clean(path)) if path else "FILE"
    print(
        f"Page      {page}\n"
        f"Database  {database}\n"
        f"Next      {command} timeline {file} --db {shlex.quote(str(database))}\n"
        f"          {command} import       keeps your own sessions in your data folder\n"
        f"          {command} notebooks    copies the notebooks, for jupyter lab"
    )


def _command() -> str:
    """How the command is called from here: by its name, or by its path if it is not on PATH."""
    name = "opencode-sessions"
    return name if shutil.which(name) else os.path.relpath(Path(sys.executable).with_name(name))


async def _imported(database: Path) -> Frames:
    async with ocs.open(database) as service:
        try:
            report = await service.import_opencode(progress=sys.stderr.isatty())
            found = report.sessions.total > report.sessions.skipped
            why = "" if found else "opencode has no sessions on this machine yet."
        except ocs.SourceError as error:
            why = str(error)
        if why:
            recording = ocs.demo.unpack(database.parent / "recording")
            await service.import_opencode(recording, origin=ocs.demo.ORIGIN, progress=False)
            say(
                f"{why}\nSo this is a {ocs.demo.ORIGIN} through the real opencode 1.18.33: "
                "its project, prompts, models and prices are invented."
            )
        else:
            stored = await service.sessions()
            # Of a run before opencode was used here: one's own sessions and a replay do not mix.
            for recorded in stored.loc[stored["origin"] == ocs.demo.ORIGIN, "session_id"]:
                await service.delete_session(recorded)
            say(f"Your opencode sessions, from {', '.join(report.sources)}.")
        return await service.frames()
