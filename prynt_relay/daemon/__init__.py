"""Wires the rooms, starts them in order, supervises them, and drains."""

from prynt_relay.daemon.serving import serve

__all__ = ["serve"]
