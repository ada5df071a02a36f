"""Videos through PyAV (FFmpeg), which is imported when there is one: decoding, the network and encoding overlap."""
