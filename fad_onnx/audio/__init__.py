"""Turn files into samples at a model's rate: list, decode, check and resample them."""
