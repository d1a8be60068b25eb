"""One training in its folder."""
