"""Which stages there are, where they run and what they resulted in: Ray, Tune and MLflow live here and nowhere else."""
