"""How many replicas a load takes: what a step costs is measured, and thousands of such replicas are simulated."""
