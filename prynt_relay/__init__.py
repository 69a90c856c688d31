"""prynt-relay: a durable webhook sender in one process and one SQLite file."""
