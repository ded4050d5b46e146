"""Whole corpora translated on Ray Data, without a server: `stepstream translate-corpus`. What serves knows none of it."""
