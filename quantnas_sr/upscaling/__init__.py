"""Images and videos through a finished network."""

from quantnas_sr.upscaling.pixels import upscale

__all__ = ["upscale"]
