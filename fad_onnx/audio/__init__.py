"""Files become samples at a model's rate: finding, decoding, checking, resampling."""
