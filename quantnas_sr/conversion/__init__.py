"""Trained networks of others in integers, without a search: recognised, calibrated, exported, compared."""
