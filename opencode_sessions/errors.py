"""What can go wrong, said so that the reader knows what to do next.

Every error of this package is an `OpencodeSessionsError`. Its message says what was wrong, what
exists instead and what to try; the driver's own error stays chained as `__cause__`.
"""


class OpencodeSessionsError(Exception):
    """Anything this package raises on purpose."""


class SourceError(OpencodeSessionsError):
    """opencode's own data could not be read: no database, damaged, locked."""


class SourceNotFound(SourceError):
    """No opencode data where we looked; the message names the places."""


class SessionNotFound(OpencodeSessionsError):
    """No stored session has this id; the message names the newest ones."""


class PersistenceError(OpencodeSessionsError):
    """The store could not be reached or refused; the driver's error is the cause."""


class SchemaError(OpencodeSessionsError):
    """The tables are missing or older than this version; the message says how to mend it."""


class ExportError(OpencodeSessionsError):
    """An export could not be written or read back; the message names the file or the column."""
