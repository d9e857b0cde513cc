"""Pictures: functions that draw on `ax`, or on a figure of their own, and return it.

Some take events or frames, as the measures do; some take a measure's table and draw that, so that
its options stay the measure's: `coupling(events, by="session").pipe(plots.coupling_matrix)`. Given
anything else they raise a TypeError that says what they take. Shape, hatch and lightness repeat the
colour: a picture says the same in grey.
"""

try:
    import matplotlib as _matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("Plots need matplotlib: pip install 'opencode-sessions[lab]'") from error

from .files import file_activity, file_heatmap, file_timeline
from .shares import cost_per_file, coupling_matrix, failure_rates, tool_mix
from .times import churn, session_gantt

__all__ = [
    "churn",
    "cost_per_file",
    "coupling_matrix",
    "failure_rates",
    "file_activity",
    "file_heatmap",
    "file_timeline",
    "session_gantt",
    "tool_mix",
]
