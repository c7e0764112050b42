"""`novum serve`: a local dashboard that reads a run's ledger and changes nothing but directives."""
