"""`novum eval search`: the policies of the search on landscapes whose truth is known."""
