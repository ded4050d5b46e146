"""Corpora that `fetch-corpus` brings: each from where its owners publish it, into one folder of SPLIT.LANGUAGE.gz."""
