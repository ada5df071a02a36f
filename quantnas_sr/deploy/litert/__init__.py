"""Exported files of LiteRT (TFLite): their format, and the session that runs them."""
