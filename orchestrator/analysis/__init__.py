"""Numbers computed from the stored results of an experiment, as frozen values and data frames.

They are scores, statistics, calibration, robustness, subgroups and embeddings. What only some commands need (PyTorch,
scikit-learn, SciPy) is imported where it is used.

Not here: anything drawn or written (`reporting`), and anything computed on Ray (`execution`).
"""
