"""Corpora, the layouts they come in, folds, conditions and batches."""
