"""A finished network beside its float baseline, in every runtime."""
