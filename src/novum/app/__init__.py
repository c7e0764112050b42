"""What people touch: the command line and the views of a run."""
