"""Replicas behind the shipped proxy, replaced one after the other and killed, while clients stream."""
