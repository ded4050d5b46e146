"""Models of transformers, as `save_pretrained` or the hub lays them out, onto our one Transformer."""
