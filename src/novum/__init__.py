"""Novum: an automated AI research lab whose reported progress is progress."""
