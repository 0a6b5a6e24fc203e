"""Several runs of a stage trained as one, with a leading dimension of runs; what keeps a GPU busy."""
