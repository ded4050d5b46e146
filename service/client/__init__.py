"""The caller's side: typed clients, files line by line, the terminal. Nothing of the engine or the models."""
