"""The steps of the audit, one a file: each takes recorded facts and gives evidence."""
