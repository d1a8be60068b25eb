"""Training states saved, verified and restored."""
