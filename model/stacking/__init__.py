"""Several runs of a stage trained as one, with a leading dimension of runs, which keeps a GPU busy."""
