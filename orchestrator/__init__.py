"""Which stages there are, where they run and what came out: Ray, Tune and MLflow live here and nowhere else."""

import os

# Workers and nodes that are lost are told in a line by the driver; Ray, which reads this when it is imported, would add
# pages of its own logs.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "(?i)raylet|run_stages|node id")
