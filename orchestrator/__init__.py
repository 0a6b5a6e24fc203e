"""Which stages there are, where they run and what came out: Ray, Tune and MLflow live here and nowhere else."""
