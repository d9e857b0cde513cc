"""What to import: which sessions, whose, and whether one in this state was read already."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from .besides import Deleted
from .models import Row
from .records import EPOCH
from .sources import WITH_SNAPSHOTS, is_wanted

READER = 3  # goes up when the same data would give other rows: then everything is read again
# What tells whether a stored session is wanted.
TOLD = ("updated_at", "created_at", "project_id", "workdir", "worktree")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to import: whose it is, which sessions, and what to do with what opencode deleted."""

    origin: str | None = None
    since: datetime | None = None
    project: str | None = None
    shell: bool = True
    deleted: Deleted = "keep"

    @property
    def is_everything(self) -> bool:
        """Whether no session is left out, so that one that is missing must be gone."""
        return self.since is None and self.project is None

    def wants(self, stored: Row) -> bool:
        """Whether a stored session is one of those: by `TOLD` of its columns."""
        if self.is_everything:
            return True
        touched = stored["updated_at"] and (stored["updated_at"] - EPOCH) / timedelta(
            milliseconds=1
        )
        created = stored["created_at"] and (stored["created_at"] - EPOCH) / timedelta(
            milliseconds=1
        )
        info = {
            "time": {"updated": touched, "created": created},
            "projectID": stored["project_id"],
            "directory": stored["workdir"],
        }
        return is_wanted(info, stored["worktree"], self.since, self.project)

    def state(self, said: str | None) -> str | None:
        """A session's state, together with what else decides its rows; None where it has none."""
        if not said:
            return None
        told = said if self.shell else said.removesuffix(WITH_SNAPSHOTS)
        return f"{READER} {self.shell} {self.origin} {told}"
