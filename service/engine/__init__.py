"""Continuous batching: all requests of a model share each decoder step."""
