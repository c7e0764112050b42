"""Other people's searchers, as they are, on the landscapes of `novum eval search`."""
