"""What a running server tells of itself: metrics, traces, one log line for each call, the event loop's health."""
