"""The operating system and Python: files written in one step, processes, processors, imports on first use."""
