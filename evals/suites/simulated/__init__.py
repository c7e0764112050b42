"""Campaigns on landscapes whose truth is known: what `novum eval search` runs."""
