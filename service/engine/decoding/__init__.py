"""Every search method over the shared step: which tokens the rows of a request go on with. It knows no tensors' homes,
no models and no texts."""
