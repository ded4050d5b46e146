"""The formats of a corpus: each divides a file into extents, reads the texts of one, and writes them translated."""
