"""`export`: sessions out of the store, for other programs and for other people."""

import logging
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import OpencodeSessionsError
from .stores import Db, read

if TYPE_CHECKING:
    from ..exporting import ExportReport
    from ..service import OpencodeSessionService

Format = Literal["parquet", "jsonl", "csv"]  # as `exporting` has it, imported when it is needed


def export(
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="FOLDER|URL", help="Where to: a folder, or a URL (s3://, gs://, ...)."
        ),
    ],
    format: Annotated[
        Format, typer.Option("--format", "-f", help="parquet adds to what is there.")
    ] = "parquet",
    diffs: Annotated[
        bool, typer.Option("--diffs/--no-diffs", help="Also each change as text.")
    ] = False,
    parts: Annotated[
        bool, typer.Option("--parts/--no-parts", help="Also what messages and calls consist of.")
    ] = False,
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
    full: Annotated[
        bool, typer.Option("--full", help="Write every session again, changed or not.")
    ] = False,
    exporter: Annotated[
        str | None,
        typer.Option(help="Name under which to remember what was written; where users change."),
    ] = None,
    db: Db = None,
) -> None:
    """Write the stored sessions into a folder, as Parquet, JSON lines or CSV.

    Parquet is for a folder of many people's sessions, which Spark and `ocs.read_export` read: doing
    it again adds what has changed, and any number may do it at once. The others replace what is
    there.

    Examples:

    - `opencode-sessions export --to sessions-csv --format csv`
    - `opencode-sessions export --to s3://team/opencode --project shop`
    - `opencode-sessions export --to backup --diffs --parts`
    - `opencode-sessions export --to to-share --format jsonl --share --name Acme`
    """
    import opencode_sessions as ocs

    from .tables import say

    if to.startswith("memory://"):
        raise OpencodeSessionsError(
            f"{to} would be gone with this command. Give a folder or a URL (s3://, gs://, ...)."
        )

    async def run(service: "OpencodeSessionService") -> "ExportReport":
        return await ocs.export(
            service,
            to,
            format,
            diffs=diffs,
            parts=parts,
            project=project,
            share=share,
            names=name or (),
            full=full,
            exporter=exporter,
        )

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs what it raises, line by line
    report = read(db, run)
    say(repr(report))
    if not report.sessions and not report.unchanged:
        print("There was no session to write.", file=sys.stderr)
