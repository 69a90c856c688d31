"""What an error of SQLite's means for the daemon."""

import enum
import sqlite3
from typing import Final


class Fault(enum.Enum):
    """The consequence of a failed transaction."""

    UNAVAILABLE = "nothing was written; it may work again later"
    FATAL = "what is on the disk is unknown; only a restart finds out"
    MISTAKE = "the statement is wrong, not the disk"


_FATAL: Final = frozenset(
    {
        # After an fsync that failed the kernel may have dropped the pages and cleared the error.
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
    }
)
_FATAL_PRIMARY: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNAVAILABLE_PRIMARY: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_PERM,
    }
)


def fault_of(error: BaseException) -> Fault:
    """Judge an error by SQLite's extended result code."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, MemoryError):
        return Fault.UNAVAILABLE
    if not isinstance(error, sqlite3.Error) or code is None:
        return Fault.MISTAKE
    if code in _FATAL or code & 0xFF in _FATAL_PRIMARY:
        return Fault.FATAL
    if code & 0xFF in _UNAVAILABLE_PRIMARY:
        return Fault.UNAVAILABLE
    return Fault.MISTAKE


def reason(error: BaseException) -> str:
    """SQLite's words and its code's name; neither holds data."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else f"{type(error).__name__}: {error}"
