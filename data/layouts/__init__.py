"""The layouts that corpora are imported from, one in each file."""
