"""What all imports share: an architecture onto our models, weights, publishing, the comparison with the original."""
