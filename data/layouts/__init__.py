"""Layouts that corpora are imported from, a file each."""
