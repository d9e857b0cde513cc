"""The secret that this user's marks are made with: kept beside his store, in no export.

Whoever had it could try guesses on the marks of what was shared.
"""

import logging
import os
import secrets
from pathlib import Path
from uuid import uuid4

from ..errors import ExportError
from ..opening import default_database

log = logging.getLogger("opencode_sessions")
BYTES = 32


def own_secret() -> bytes:
    """This user's secret, made when it is first needed; where nothing can be kept, one for now.

    Raises:
        ExportError: the file of it holds something else.
    """
    file = default_database().parent / "marks.key"
    try:
        secret = file.read_bytes() if file.exists() else _made(file)
    except OSError as error:
        log.warning("The next export will write all again, under other marks: %s", error)
        return secrets.token_bytes(BYTES)
    if len(secret) != BYTES:
        raise ExportError(
            f"{file} is damaged. Without it the next export writes all again, under other marks."
        )
    return secret


def _made(file: Path) -> bytes:
    """There at once and whole; of two that make one, the first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{uuid4().hex[:8]}")
    try:
        new.touch(0o600)
        new.write_bytes(secrets.token_bytes(BYTES))
        os.link(new, file)
    except FileExistsError:
        pass
    finally:
        new.unlink(missing_ok=True)
    return file.read_bytes()
