"""Any network of BasicSR: its convolutions found, quantized, or mixed over bit widths."""
