"""What `novum eval` runs: the suites that measure the lab itself."""
