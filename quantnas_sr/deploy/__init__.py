"""Finished networks in use: runtimes, receptive fields, memory, and support in other programs."""
