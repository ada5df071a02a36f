"""A front from one search file: for each penalty or budget and each seed a search, a training and a test.

- `plan_jobs`: the options files of all jobs; `run_sweep`: runs what is not done yet
- `collect`: what the jobs of a folder found, and which were left out
"""

from quantnas_sr.sweep.plan import Sources, plan_jobs, points_of
from quantnas_sr.sweep.records import LeftOut, Record, collect
from quantnas_sr.sweep.runner import run_sweep

__all__ = [
    "LeftOut",
    "Record",
    "Sources",
    "collect",
    "plan_jobs",
    "points_of",
    "run_sweep",
]
