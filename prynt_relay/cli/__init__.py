"""The command lines: `prynt`, which talks only to the API, and `prynt-relay`, the daemon's."""
