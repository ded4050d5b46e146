"""Whether a server's memory grows with what it has served (promise 6)."""
