"""Attacks on real servers: fuzzing, soak and memory growth. Prints figures; fails where a promise is broken."""
