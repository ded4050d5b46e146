"""Models of Marian NMT (Junczys-Dowmunt et al. 2018) in its own format, mapped onto our Transformer."""
