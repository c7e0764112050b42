"""What people touch: the command line, the live view, the report."""
