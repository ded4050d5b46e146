"""Whole corpora translated on Ray Data, without a server: `stepstream translate-corpus`. No server knows it."""
