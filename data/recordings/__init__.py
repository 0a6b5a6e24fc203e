"""From recordings to features: layouts of raw corpora, decoding, and extractors."""
