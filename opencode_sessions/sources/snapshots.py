"""opencode's snapshots: what changed between the trees it kept before and after each step.

They lie in bare git directories, ``snapshot/<project id>/<sha1 of the worktree>`` since 1.14,
``snapshot/<project id>`` before. Only their objects are read, through a git directory of our own:
no configuration, hook or attribute of theirs is ever looked at, and nothing is written there. Where
git or a tree is missing there is no answer, and the patch parts have to do.
"""

import hashlib
import os
import posixpath
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, cast

from ..changes import Pair
from ..noted import TreeChange
from .source import Untold

SECONDS = 20.0
MOST_GAPS = 20  # trees that cannot be read, before the rest is given up
TREE = re.compile(r"[0-9a-f]{40}")
PLAIN_NAME = re.compile(r"[\w-][\w.-]*")
PAIR = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40})\n")
RAW = re.compile(
    rb":([0-7]{6}) ([0-7]{6}) ([0-9a-f]{40}) ([0-9a-f]{40}) ([A-Z])\0([^\0]*)\0", re.DOTALL
)
NUMSTAT = re.compile(rb"(\d+|-)\t(\d+|-)\t([^\0]*)\0", re.DOTALL)
FILE_MODES = (b"100644", b"100755", b"120000")
NO_FILE = b"000000"
COMMAND = (
    *("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=" + os.devnull),
    *("diff-tree", "--stdin", "-r", "-z", "--raw", "--numstat", "--no-renames", "--no-abbrev"),
    *("--no-ext-diff", "--no-textconv", "--no-color"),
)


def kept_projects(data: Path) -> set[str]:
    """The ids of the projects of which this data folder keeps snapshots."""
    try:
        return set(os.listdir(data / "snapshot"))
    except OSError:
        return set()


class Snapshots:
    """The snapshots in one of opencode's data folders; to be closed, as it keeps a folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._is_given_up = False
        self._is_too_slow = False
        self.asked = 0
        self.untold = 0
        self.late = 0  # of those untold: the next time there may be an answer

    def changes(
        self, project_id: str | None, root: str, pairs: Sequence[Pair]
    ) -> dict[Pair, list[TreeChange]]:
        """What changed in each pair of trees of this worktree, by absolute path.

        A pair whose trees are not there, or not whole, is left out.
        """
        self.asked += len(pairs)
        wanted = [pair for pair in pairs if all(TREE.fullmatch(tree) for tree in pair)]
        found: dict[Pair, list[TreeChange]] = {}
        for objects in self._objects(project_id, root):
            left = [pair for pair in wanted if pair not in found]
            if left and not self._is_given_up:
                found |= self._told(objects, root, left)
        self.untold += len(pairs) - len(found)
        self.late += (len(wanted) - len(found)) * self._is_too_slow
        return found

    def missing(self) -> Iterator[Untold]:
        """What could not be told, if there is any."""
        if self.untold:
            yield Untold(self.untold, self.asked)

    def _objects(self, project_id: str | None, root: str) -> Iterator[Path]:
        if project_id is None or not PLAIN_NAME.fullmatch(project_id):
            return
        folder = self._data / "snapshot" / project_id
        name = hashlib.sha1(root.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
        for place in (folder / name, folder):
            if os.path.isdir(place / "objects"):
                yield place / "objects"

    def _told(
        self, objects: Path, root: str, pairs: Sequence[Pair]
    ) -> dict[Pair, list[TreeChange]]:
        """git's answers; it stops at a tree that is not whole, and is asked again for the rest."""
        found: dict[Pair, list[TreeChange]] = {}
        left = list(pairs)
        for _attempt in range(MOST_GAPS):
            try:
                run = subprocess.run(
                    COMMAND,
                    input="".join(f"{before} {after}\n" for before, after in left).encode(),
                    capture_output=True,
                    timeout=SECONDS,
                    env=self._environment(objects),
                    cwd=self._repository.name,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                self._is_given_up = True
                self._is_too_slow = isinstance(error, subprocess.TimeoutExpired)
                break
            answers = list(_answers(run.stdout, root))
            if run.returncode == 0:
                return found | dict(answers)
            found |= dict(answers[:-1])
            last = answers[-1][0] if answers else left[0]
            left = left[left.index(last) + 1 :] if last in left else []
            if not left:
                break
        return found

    @cached_property
    def _repository(self) -> "tempfile.TemporaryDirectory[str]":
        """A git directory with nothing in it."""
        folder = tempfile.TemporaryDirectory(prefix="opencode-sessions-")
        for name in ("objects", "refs"):
            Path(folder.name, name).mkdir()
        Path(folder.name, "HEAD").write_text("ref: refs/heads/none\n")
        return folder

    def _environment(self, objects: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return kept | {
            "GIT_DIR": self._repository.name,
            "GIT_OBJECT_DIRECTORY": os.fspath(objects.absolute()),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if "_repository" in self.__dict__:
            self._repository.cleanup()


def _answers(output: bytes, root: str) -> Iterator[tuple[Pair, list[TreeChange]]]:
    """Each pair with its changes, as `git diff-tree --stdin -z --raw --numstat` prints them."""
    position = 0
    while pair := PAIR.match(output, position):
        position = pair.end()
        kinds: dict[bytes, tuple[str, bytes, bytes]] = {}
        changes: list[TreeChange] = []
        while raw := RAW.match(output, position):
            position = raw.end()
            old_mode, new_mode, before, after, _letter, path = raw.groups()
            if old_mode in FILE_MODES and new_mode in FILE_MODES and before != after:
                kinds[path] = ("M", before, after)
            elif old_mode in FILE_MODES and new_mode not in FILE_MODES:
                kinds[path] = ("D", before, after)
            elif new_mode in FILE_MODES and old_mode not in FILE_MODES:
                kinds[path] = ("A", before, after)
        while counted := NUMSTAT.match(output, position):
            position = counted.end()
            if counted[3] in kinds:
                status, before, after = kinds[counted[3]]
                added, removed = (int(n) if n.isdigit() else None for n in counted.groups()[:2])
                name = counted[3].decode("utf-8", "replace")
                changes.append(
                    TreeChange(
                        cast(Literal["A", "M", "D"], status),
                        posixpath.join(root, name),
                        before.decode(),
                        after.decode(),
                        added,
                        removed,
                    )
                )
        yield (pair[1].decode(), pair[2].decode()), changes
