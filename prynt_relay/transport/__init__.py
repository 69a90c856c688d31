"""What goes over the wire: the HTTP pool, the address guard, signatures and body formats."""
