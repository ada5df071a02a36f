"""How the layers of each search space are wired."""
