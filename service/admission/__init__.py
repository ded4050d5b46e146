"""Decides at once, on the event loop, whether a request may wait for a model's engines."""
