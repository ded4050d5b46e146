"""Every figure of speed in the documents, printed by `python -m benchmarks`."""
