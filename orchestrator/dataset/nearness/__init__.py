"""Which questions are nearly the same: words, bands, verified pairs."""
