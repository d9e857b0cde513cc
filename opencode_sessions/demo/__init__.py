"""A recorded project, for the demo, the docs and empty states.

`README.md` beside this file says what the recording is and what in it is invented.
"""

import lzma
import os
import tempfile
from pathlib import Path

ORIGIN = "scripted replay"
"""What the `origin` column of the recording's rows says."""

_RECORDING = Path(__file__).with_name("trailmap-1.18.33.db.xz")


def unpack(folder: str | os.PathLike[str]) -> Path:
    """Write the recording into a folder as `opencode.db` and return the file's path.

    The folder is made if it is missing. A recording that is there already is left as it is.

    Raises:
        FileExistsError: the folder has another `opencode.db`, which is not touched.
    """
    target = Path(folder) / "opencode.db"
    target.parent.mkdir(parents=True, exist_ok=True)
    recording = lzma.decompress(_RECORDING.read_bytes())
    if target.exists():
        if target.read_bytes() != recording:
            raise FileExistsError(f"{target} is not the demo's recording; choose an empty folder.")
        return target
    # Renamed into place: a second process, or the next run after a kill, never sees half a file.
    handle, unfinished = tempfile.mkstemp(dir=target.parent, prefix=".opencode-")
    with os.fdopen(handle, "wb") as file:
        file.write(recording)
    os.replace(unfinished, target)
    return target
