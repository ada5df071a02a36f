"""Pictures of what a search found."""

from quantnas_sr.report.crops import draw_crops
from quantnas_sr.report.draw import draw_genotype

__all__ = ["draw_crops", "draw_genotype"]
