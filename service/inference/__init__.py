"""The second face of the service: the Open Inference Protocol, turned into our own protocol and back."""
