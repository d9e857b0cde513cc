"""Paths as the frames show them, and the ways a tool may have written one."""

import posixpath
import re
from collections.abc import Iterable

DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def project_of(directory: str | None, worktree: str | None) -> str | None:
    """A session's project: its worktree, or its directory if that is unknown or the whole disk."""
    return worktree if worktree and worktree != "/" else directory


def posix_path(path: str, directory: str | None, worktree: str | None) -> str:
    """A tool's path as the frames show it: POSIX, relative to the worktree, absolute outside.

    A relative path is one of the session's directory; that is also what stands in for a worktree
    that is unknown or "/".
    """
    is_windows = bool(DRIVE.match(path) or DRIVE.match(directory or ""))
    if is_windows:
        path = path.replace("\\", "/")
        directory, worktree = ((place or "").replace("\\", "/") for place in (directory, worktree))
    full = path if DRIVE.match(path) else posixpath.join(directory or "", path)
    full = posixpath.normpath(full) if is_windows else _normal(full)
    root = project_of(directory, worktree)
    if not root:
        return full
    root = posixpath.normpath(root).rstrip("/") + "/"
    folded = str.casefold if is_windows else str
    if folded(full + "/") == folded(root):
        return "."
    start, rest = full[: len(root)], full[len(root) :]
    return rest if folded(start) == folded(root) else full


def plain_paths(shown: str, places: Iterable[tuple[str | None, str | None]]) -> set[str] | None:
    """What a tool may have been given for a path that is shown like this, if plainly written.

    That is the path from the root or from the session's directory, in each of these places. Other
    ways (`./a`, `b//a`, `../b/a`) are without number: the store knows those by how they look. None
    where one place is of Windows: there it is upper and lower case as well.
    """
    if DRIVE.match(shown):
        return None
    found, plain = set(), _normal(shown)
    for directory, worktree in places:
        if DRIVE.match(directory or "") or DRIVE.match(worktree or ""):
            return None
        root = project_of(directory, worktree)
        for full in (_normal(posixpath.join(root or "", shown)), plain):
            found.add(full)
            if directory:
                above = _normal(directory).rstrip("/") + "/"
                found.add(full.removeprefix("" if above == "./" else above))
    return found


def _normal(path: str) -> str:
    """The plain name of a POSIX path."""
    path = posixpath.normpath(path)
    return path[1:] if path.startswith("//") else path  # normpath keeps two; Linux makes them one
