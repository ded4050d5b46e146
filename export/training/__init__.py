"""From a parallel corpus to a checkpoint."""
