"""Images and videos through a finished network."""

from quantnas_sr.upscaling.command import upscale

__all__ = ["upscale"]
