"""Quantizes the convolutions of any BasicSR network, at fixed bit widths or (in a search) at several at once."""
