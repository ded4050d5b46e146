"""The caller's side: typed clients, files translated line by line, the terminal. Nothing of the engine or the models."""
