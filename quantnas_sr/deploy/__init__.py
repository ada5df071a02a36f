"""Finished networks at work: runtimes, how far a network sees, memory, other programs that read our files."""
