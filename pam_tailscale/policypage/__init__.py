"""Who can log in where, as one HTML page that needs nothing else: no server, no network."""
