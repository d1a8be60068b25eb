"""Many trainings: seeds, ensembles, pseudo labels."""
