"""Fuzzing: what is sent is random or damaged; what comes back must be a status that says nothing of the inside."""
