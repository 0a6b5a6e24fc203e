"""The layouts that corpora are imported from, one per module."""
