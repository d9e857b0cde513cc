"""From sessions to answers: frames in, tidy frames out, each module one question."""

from .activity import activity
from .compare import compare
from .costs import cost_by_file, session_costs
from .coupling import coupling, read_edit_lift
from .files import file_summary, file_timeline
from .frames import Frames, load
from .hotspots import hotspots
from .reach import blast_radius, contention
from .reported import compare_with_opencode
from .results import RESULTS
from .sessions import session_summary
from .tree import session_tree

__all__ = [
    "RESULTS",
    "Frames",
    "activity",
    "blast_radius",
    "compare",
    "compare_with_opencode",
    "contention",
    "cost_by_file",
    "coupling",
    "file_summary",
    "file_timeline",
    "hotspots",
    "load",
    "read_edit_lift",
    "session_costs",
    "session_summary",
    "session_tree",
]
