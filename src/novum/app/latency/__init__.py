"""Suites that time what people touch: chat and steering. `novum eval` lists them."""
