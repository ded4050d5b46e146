"""`stepstream load`: load of a known kind, what became of it, and whether every translation was what it should be."""
