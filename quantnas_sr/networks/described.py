"""The networks of the package in words."""

from typing import List, Sequence

from quantnas_sr.networks import card, default, file_of, names

#: The set of images whose PSNR is in the table.
_SHOWN = "Set14"


def table() -> str:
    """All networks, one in a line, with their cost and quality."""
    rows: List[Sequence[str]] = [("network", "scale", "GBitOps", f"{_SHOWN}, dB", "bicubic", "kB")]
    for name in names():
        one = card(name)
        quality = one.quality[_SHOWN]
        size = file_of(name, "network.onnx").stat().st_size
        numbers = (f"{one.gbitops:.3f}", f"{quality.psnr:.2f}", f"{quality.bicubic_psnr:.2f}", f"{size / 1e3:.0f}")
        rows.append((name, f"x{one.scale}", *numbers))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, "", f"default: {default()}; GBitOps of 10^9 for an image of 32x32"])


def described(name: str) -> str:
    """All that is known of a network.

    Raises:
        OptionError: there is no such network.
    """
    one = card(name)
    lines = [f"{one.name}: x{one.scale}, {one.gbitops:.3f} GBitOps (10^9) for an image of 32x32"]
    lines += [
        f"{images}: PSNR-Y {found.psnr:.3f} dB, SSIM-Y {found.ssim:.4f} "
        f"(bicubic: {found.bicubic_psnr:.3f} dB, {found.bicubic_ssim:.4f})"
        for images, found in one.quality.items()
    ]
    lines += [f"{topic}: {text}" for topic, text in one.facts.items()]
    lines += [f"file: {file_of(name, file)}" for file in ("network.onnx", "network.pth", "genotype.yml")]
    return "\n".join(lines)
