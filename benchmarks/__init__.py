"""Every figure of the documents, printed by `python -m benchmarks`."""
