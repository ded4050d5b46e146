"""Whole corpora translated on Ray Data, without a server: `stepstream translate-corpus`. Nothing that serves knows it."""
