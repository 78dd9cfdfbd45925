"""Files to samples at a model's rate: listing, decoding, checking, resampling."""
