"""Whether a run is what its certificate says: its files as they are, and its segments trained again."""
