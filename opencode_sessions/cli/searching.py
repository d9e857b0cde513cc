"""`search` and `reindex`: where words stand in what is stored."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from .stores import Db, Json, read, with_store

if TYPE_CHECKING:
    import pandas as pd

    from ..service import OpencodeSessionService


def search(
    text: Annotated[list[str], typer.Argument(metavar="WORD...", help="All of these words.")],
    project: Annotated[
        str | None, typer.Option(help="Only this project: its folder, or the folder's name.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            "-k",
            help="Only these texts: title, prompt, answer, output, path, command, diff, error.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 20,
    json: Json = False,
    db: Db = None,
) -> None:
    """Where words stand in prompts, answers, outputs, commands, paths, changes, errors and titles.

    `parse_config` finds parseConfig as well, `src/a.py` each path with it, "two words" in quotes
    those together, and three letters the beginning of a word. The newest come first.

    Examples:

    - `opencode-sessions search parse_config`
    - `opencode-sessions search TypeError --kind output --kind error --project shop`
    - `opencode-sessions search src/cart.py discount -n 100 --json`
    """
    from .tables import print_answers, print_json

    async def run(service: "OpencodeSessionService") -> "pd.DataFrame":
        return await service.search(
            " ".join(text),
            project=project,
            kind=cast("Any", kind),
            limit=limit,
            progress=sys.stderr.isatty(),
        )

    found = read(db, run)
    if json:
        print_json(found)
    elif found.empty:
        print("Nothing has all of these words.", file=sys.stderr)
    else:
        print_answers(found)


def reindex(db: Db = None) -> None:
    """Make the index that `search` uses anew.

    A file has one as soon as it is searched, and keeps it. On a server this command makes it: until
    then every search looks at every row. Anew, it is smaller where much has changed.

    Examples:

    - `opencode-sessions reindex --db postgresql://user@host/sessions`
    """

    async def run(service: "OpencodeSessionService") -> None:
        await service.reindex(progress=sys.stderr.isatty())

    with_store(db, run) if db is not None and "://" in db else read(db, run)
    print("The index is up to date.")
