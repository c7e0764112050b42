"""The shortest round trip through given cities: a benchmark pack for Novum."""
