"""Analytics for sessions of the coding agent opencode: what it read, wrote and changed, exactly.

    import opencode_sessions as ocs

    frames = ocs.read_opencode()                     # this machine's sessions as DataFrames
    svc = await ocs.open("sessions.db")              # a store of one's own
    report = await svc.import_opencode()
    await svc.file_events("ses_...")

Names are imported when they are used: the package itself takes no time to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import analytics, demo, fleet, models, plots, sources
    from .errors import (
        ExportError,
        OpencodeSessionsError,
        PersistenceError,
        SchemaError,
        SessionNotFound,
        SourceError,
        SourceNotFound,
    )
    from .exporting import ExportReport, export, read_export
    from .opening import default_database, migrate
    from .reading import read_opencode
    from .redaction import redact
    from .reporting import report
    from .service import OpencodeSessionService
    from .widgets import FileTimeline, SessionExplorer, explore

    open = OpencodeSessionService.open

__version__ = "0.1.0"

_PLACES = {
    "ExportError": "errors",
    "ExportReport": "exporting",
    "OpencodeSessionsError": "errors",
    "PersistenceError": "errors",
    "SchemaError": "errors",
    "SessionNotFound": "errors",
    "SourceError": "errors",
    "SourceNotFound": "errors",
    "default_database": "opening",
    "export": "exporting",
    "migrate": "opening",
    "read_export": "exporting",
    "read_opencode": "reading",
    "redact": "redaction",
    "report": "reporting",
    "OpencodeSessionService": "service",
    "FileTimeline": "widgets",
    "SessionExplorer": "widgets",
    "explore": "widgets",
}
_MODULES = ("analytics", "demo", "fleet", "models", "plots", "sources")

__all__ = [
    "ExportError",
    "ExportReport",
    "FileTimeline",
    "OpencodeSessionService",
    "OpencodeSessionsError",
    "PersistenceError",
    "SchemaError",
    "SessionExplorer",
    "SessionNotFound",
    "SourceError",
    "SourceNotFound",
    "analytics",
    "default_database",
    "demo",
    "explore",
    "export",
    "fleet",
    "migrate",
    "models",
    "open",
    "plots",
    "read_export",
    "read_opencode",
    "redact",
    "report",
    "sources",
]


def __getattr__(name: str) -> Any:
    if name == "open":
        value = import_module(".service", __name__).OpencodeSessionService.open
    elif name in _MODULES:
        return import_module(f".{name}", __name__)
    elif name in _PLACES:
        value = getattr(import_module(f".{_PLACES[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
