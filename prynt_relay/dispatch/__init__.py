"""Who is served next, within which bounds, and the life of one attempt."""
