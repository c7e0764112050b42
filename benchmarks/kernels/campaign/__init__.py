"""Measures all problems on one machine, without the rest of Novum: commands for a bare node."""
