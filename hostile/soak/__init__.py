"""A long run of ordinary and hostile clients against replicas, and every promise at its end (promise 7)."""
