"""The red team: runnable cheats, and honest solutions that look odd, for three tiny packs.

A case is one file under `cheats/FAMILY/` or `honest/`; `case.py` says how it is read. A cheat found
in the wild becomes a case the same day.
"""
