"""From sessions to answers: frames in, tidy frames out, each module one question.

A measure takes what its first parameter is called: `frames` all of them, `events` rows of
`frames.file_events`. Given anything else it raises a TypeError that says so.

The examples in the docstrings are of the recording that ships with the package:
`frames = ocs.read_opencode(ocs.demo.unpack(folder))` and `events = frames.file_events`.
"""

from .activity import activity
from .checks import diagnostics, verification
from .compare import compare
from .costs import cost_by_file, session_costs
from .coupling import coupling, read_edit_lift
from .edits import blind_edits, overwrites
from .failures import edit_failures
from .files import file_summary, file_timeline
from .frames import Frames
from .hotspots import hotspots
from .loading import load
from .loops import churn_windows, loops, retries
from .rates import rates
from .reach import blast_radius, contention
from .reads import redundant_reads, scope
from .reported import compare_with_opencode
from .results import RESULTS
from .sessions import session_summary
from .tree import session_tree

__all__ = [
    "RESULTS",
    "Frames",
    "activity",
    "blast_radius",
    "blind_edits",
    "churn_windows",
    "compare",
    "compare_with_opencode",
    "contention",
    "cost_by_file",
    "coupling",
    "diagnostics",
    "edit_failures",
    "file_summary",
    "file_timeline",
    "hotspots",
    "load",
    "loops",
    "overwrites",
    "rates",
    "read_edit_lift",
    "redundant_reads",
    "retries",
    "scope",
    "session_costs",
    "session_summary",
    "session_tree",
    "verification",
]
