"""Training: what is fitted to data."""
