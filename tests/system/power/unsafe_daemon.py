"""The daemon without its syncs, to show that the power cuts find what is lost then.

python -m tests.system.power.unsafe_daemon serve --config FILE
"""

import sqlite3
import sys

from prynt_relay.cli.relay import main
from prynt_relay.store import opening
from prynt_relay.store.connection import start_wal


def start_wal_without_syncs(connection: sqlite3.Connection) -> None:
    """What the store does, and then its promise taken back."""
    start_wal(connection)
    connection.execute("PRAGMA synchronous = OFF")


opening.start_wal = start_wal_without_syncs  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(main())
