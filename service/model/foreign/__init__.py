"""Encoder/decoder pairs that others exported, run behind the one contract of the graphs."""
