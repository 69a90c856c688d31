"""Wires the rooms, starts them in order, supervises them, and drains."""
