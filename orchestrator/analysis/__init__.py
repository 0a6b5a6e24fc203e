"""Numbers from what the store holds of an experiment: results, scores, statistics, calibration, robustness, subgroups
and embeddings, as frozen values and data frames. What only some commands need (PyTorch, scikit-learn, SciPy) is
imported where it is used.

Not here: anything drawn or written (`reporting`), and anything computed on Ray (`execution`).
"""
