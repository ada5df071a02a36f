"""Images and videos through a finished network."""

from typing import Any

__all__ = ["upscale"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `quantnas upscale --help` does not wait for torch.
    if name == "upscale":
        from quantnas_sr.upscaling.pixels import upscale

        return upscale
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
