"""Planning, execution, search, analysis and reporting of experiments; only this package uses Ray, Tune and MLflow."""
