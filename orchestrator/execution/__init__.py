"""Stages on Ray: the pure schedule, the scheduler that carries it out and yields events, workers, cluster and status.

Not here: which stages there are, which `planning` says, and what is shown of them, which `commands` do.
"""
