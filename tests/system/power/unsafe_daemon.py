"""The daemon without its syncs, to show that the power cuts find what is lost then.

python -m tests.system.power.unsafe_daemon serve --config FILE
"""

import sqlite3
import sys

from prynt_relay.cli.relay import main
from prynt_relay.store import connection, opening

_start_wal = connection.start_wal


def start_wal_without_syncs(raw: sqlite3.Connection) -> None:
    _start_wal(raw)
    raw.execute("PRAGMA synchronous = OFF")


opening.start_wal = start_wal_without_syncs  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(main())
