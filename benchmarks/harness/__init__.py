"""How one trial is run and scored without believing the candidate."""
