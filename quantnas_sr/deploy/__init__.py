"""Trained networks at work.

- ``upscale``: an array of pixels to one s times as large
- ``open_network``: a network of an ``.onnx`` or ``.pth`` file, for ``upscale`` or to be called as it is
- ``Network``: what ``open_network`` gives
"""

from quantnas_sr.deploy.runtimes import Network, open_network
from quantnas_sr.deploy.upscale import upscale

__all__ = ["Network", "open_network", "upscale"]
