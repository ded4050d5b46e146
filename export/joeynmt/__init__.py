"""Models of JoeyNMT, as its training leaves them in a folder, onto our one recurrent model and our one Transformer."""
