"""Which versions serve: tried out in their own process, loaded, labelled, drained and freed while others serve."""
