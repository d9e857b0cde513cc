"""opencode-sessions: opencode's own data in, tables out.

Tables are for people, `--json` is for programs: one object a line, times in ISO 8601, UTC. What
went wrong is one line on stderr. pandas and the service are imported inside the commands, so that
`--help` is there at once.
"""

import asyncio
import io
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from ..errors import OpencodeSessionsError
from .exporting import export
from .listing import files, sessions, timeline
from .reports import report
from .searching import reindex, search
from .stores import Db, Json, option, with_copy, with_store

if TYPE_CHECKING:
    from ..import_report import ImportReport
    from ..service import OpencodeSessionService

Deleted = Literal["keep", "drop"]  # as `sync` has it, which is imported when it is needed


class _Commands(TyperGroup):
    """The commands; what went wrong is one line and exit code 1, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `| head` has seen enough
            raise
        except (OpencodeSessionsError, OSError) as error:
            from .tables import say

            say(f"opencode-sessions: {' '.join(str(error).split())}", file=sys.stderr)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Sources = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="SOURCE",
        help="Databases, the folders they are in, exported files or folders of them; - is "
        "standard input. By default what opencode keeps on this machine.",
        show_default=False,
    ),
]


@app.callback()
def _about() -> None:
    """Which files did my coding agent read, write and change, in which order?

    Start with `opencode-sessions import`, then `sessions`, `files` and `timeline FILE`;
    or see it all on your own data, or on a recording, with `opencode-sessions demo`.
    """


@app.command("import")
def import_(
    source: _Sources = None,
    db: Db = None,
    origin: Annotated[
        str | None,
        typer.Option(help="Whose sessions these are, kept with every row, e.g. `ana@laptop`."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only sessions touched at or after this local time, e.g. `2026-03-01`."),
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="Only this project: its folder, or the folder's name.")
    ] = None,
    shell: Annotated[
        bool, typer.Option("--shell/--no-shell", help="Also which files shell commands changed.")
    ] = True,
    deleted: Annotated[
        Deleted,
        typer.Option(help="What opencode has deleted since: keep and mark it, or drop it."),
    ] = "keep",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would do, tried on a copy.")
    ] = False,
    json: Json = False,
) -> None:
    """Copy opencode's sessions into the store. Doing it again adds only what is new.

    opencode's own data is only read, also while opencode runs. A session that several sources have
    is taken from a database first, then from a tree of JSON files, then from what was exported.

    Examples:

    - `opencode-sessions import`
    - `opencode-sessions import ~/backup/opencode.db ~/exports --origin ana@laptop --dry-run`
    - `opencode-sessions import --since 2026-03-01 --db march.db`
    - `opencode export ses_dfb94b0edffeI566j7sbRyceyc > it.json && opencode-sessions import it.json`
    """

    from .tables import print_json, say

    async def run(service: "OpencodeSessionService") -> "ImportReport":
        return await service.import_opencode(
            source or None,
            origin=origin,
            since=since,
            project=project,
            shell=shell,
            deleted=deleted,
            progress=sys.stderr.isatty(),
        )

    report = with_copy(db, run) if dry_run else with_store(db, run)
    if json:
        print_json(report)
        return
    say(repr(report))
    if dry_run:
        print("Nothing was stored: this is what an import would do.")
    else:
        print(f"Next: opencode-sessions sessions{option(db)}")


@app.command()
def doctor(source: _Sources = None, json: Json = False) -> None:
    """What opencode left where, what of it cannot be read and why, and where its totals are wrong.

    Reads everything as `import` would, and changes and keeps nothing; also while opencode runs.

    Examples:

    - `opencode-sessions doctor`
    - `opencode-sessions doctor ~/backup/opencode ~/exports`
    - `opencode-sessions doctor --json | jq '.sources[] | {place, sessions, problems}'`
    """
    from .doctor import diagnose, print_diagnosis
    from .tables import print_json

    diagnosis = diagnose(source or [])
    if json:
        print_json(diagnosis)
    else:
        print_diagnosis(diagnosis, source or [])


app.command()(sessions)
app.command()(files)
app.command()(timeline)


@app.command()
def migrate(
    url: Annotated[str, typer.Argument(metavar="URL", help="A database URL, or an SQLite file.")],
) -> None:
    """Make the tables of a database, or bring them to this version.

    A file is also brought up to date whenever it is opened; a server's tables change with this
    command alone. It can be run again, and by two at a time.

    Examples:

    - `opencode-sessions migrate sessions.db`
    - `opencode-sessions migrate sqlite+aiosqlite:////data/sessions.db`
    """
    import opencode_sessions as ocs

    asyncio.run(ocs.migrate(url))
    print("The tables are up to date.")


@app.command()
def notebooks(
    folder: Annotated[Path, typer.Argument(help="Where to; made if missing.")] = Path(
        "opencode-notebooks"
    ),
) -> None:
    """Copy the notebooks that come with the package, to run and to change.

    A notebook that is there already is left as it is.

    Examples:

    - `opencode-sessions notebooks && jupyter lab opencode-notebooks`
    """
    from .page import notebook_folder

    folder.mkdir(parents=True, exist_ok=True)
    for notebook in sorted(notebook_folder().glob("*.ipynb")):
        copy = folder / notebook.name
        if copy.exists():
            print(f"{copy} is there already, left as it is")
        else:
            shutil.copyfile(notebook, copy)
            print(copy)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where its files go; made if missing.")] = Path(
        "opencode-demo"
    ),
) -> None:
    """See it work: on your own opencode sessions, or on a recorded project where there are none.

    Imports them into a database, prints the sessions, the busiest files and one file's timeline,
    and writes the first notebook as a page that opens without a network.

    Examples:

    - `opencode-sessions demo`
    - `opencode-sessions demo --out look`
    """
    from .demo import show

    show(out)


app.command()(report)
app.command()(export)
app.command()(search)
app.command()(reindex)


def main() -> None:
    """The `opencode-sessions` command."""
    for stream in (sys.stdout, sys.stderr):
        # A pipe on Windows, or an old locale, has no "└": better a "?" than a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app(prog_name="opencode-sessions")
