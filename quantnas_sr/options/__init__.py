"""Options files: read, completed with what they are based on, checked before a run starts."""
