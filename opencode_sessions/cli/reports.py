"""`opencode-sessions report`: stored sessions as a page to send to somebody."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..shown import number_of
from .stores import Db, read

if TYPE_CHECKING:
    from ..reporting import Report
    from ..service import OpencodeSessionService


def report(
    out: Annotated[Path, typer.Argument(help="The page to write.")] = Path("opencode-report.html"),
    session: Annotated[
        str | None,
        typer.Option(help="Only this session, and the subagents it called.", show_default=False),
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="Only this project: its folder, or the folder's name.")
    ] = None,
    share: Annotated[
        bool,
        typer.Option("--share", help="Replace keys, tokens, passwords, e-mails, users and hosts."),
    ] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Replace this name as well: of a person, a company, a project."),
    ] = None,
    structure_only: Annotated[
        bool,
        typer.Option("--structure-only", help="Share counts, times and types, no word of a text."),
    ] = False,
    is_opened: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    db: Db = None,
) -> None:
    """Write sessions as one HTML file that opens without a network and loads nothing.

    Timeline, files, changes, messages and measures of a session, of a project, or of all that is
    stored. Have a look at a page before you send it: `--share` finds what has a known form or a
    telling name beside it, and names only if you give them.

    Examples:

    - `opencode-sessions report --session ses_dfb94b0edffeI566j7sbRyceyc --open`
    - `opencode-sessions report shop.html --project shop --share --name "Ana Nowak" --name Acme`
    """
    from ..reporting import report as write
    from .tables import say

    async def run(service: "OpencodeSessionService") -> "Report":
        return await write(
            service,
            out,
            session=session,
            project=project,
            share=share,
            structure_only=structure_only,
            names=name or (),
        )

    made = read(db, run)
    for note in made.notes:
        say(note, file=sys.stderr)
    if made.replaced is not None:
        counts = made.replaced.groupby("kind")["count"].sum().sort_values(ascending=False)
        found = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
        say(f"Replaced: {found or 'nothing was found'}.")
    say(f"{made.path}  {number_of(made.sessions, 'session')}, {made.bytes / 1e6:.1f} MB")
    if is_opened:
        typer.launch(made.path.resolve().as_uri())
