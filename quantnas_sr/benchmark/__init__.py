"""A trained network measured against its float baseline, in every runtime."""
