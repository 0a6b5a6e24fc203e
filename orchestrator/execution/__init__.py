"""Stages on Ray: the schedule, the scheduler that carries it out, workers, the cluster, events and status."""
