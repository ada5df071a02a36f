"""Drawings of genotypes, comparisons of images, and the report of a sweep."""

from quantnas_sr.report.crops import bicubic, draw_crops
from quantnas_sr.report.drawing.draw import draw_genotype
from quantnas_sr.report.front import pareto_front
from quantnas_sr.report.sweep_page import require_report, write_report

__all__ = ["bicubic", "draw_crops", "draw_genotype", "pareto_front", "require_report", "write_report"]
