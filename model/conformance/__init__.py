"""What every system must do: checks of a whole system, trained on small made-up corpora."""
