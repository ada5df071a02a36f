"""The arguments of ``quantnas pareto``."""

import argparse
from pathlib import Path
from typing import List

from quantnas_sr.sweep.job import STAGES
from quantnas_sr.sweep.plan import Sources, plan_jobs
from quantnas_sr.sweep.records import LeftOut, collect
from quantnas_sr.sweep.runner import run_sweep

#: The paper's.
PENALTIES = (0, 5e-5, 1e-4, 1e-3)


def _whole(text: str, least: int) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f"{text}: must be {least} or more")
    return number


def _positive(text: str) -> int:
    return _whole(text, 1)


def _not_negative(text: str) -> int:
    return _whole(text, 0)


def _penalty(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be 0 or more")
    return number


def _budget(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be more than 0")
    return number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the arguments of ``quantnas pareto``."""
    parser.add_argument("search", type=Path, help="options file of a search, such as options/search_basic_x4.yml")
    parser.add_argument("--train", type=Path, metavar="YML", help="of the training (train_X.yml beside search_X.yml)")
    parser.add_argument("--test", type=Path, metavar="YML", help="of the test (test_X.yml beside search_X.yml)")
    usual = " ".join(f"{value:g}" for value in PENALTIES)
    parser.add_argument("--penalties", type=_penalty, nargs="+", help=f"hardware_opt.loss_weight ({usual})")
    parser.add_argument("--budgets", "--budget", type=_budget, nargs="+", help="GBitOps to stay below")
    parser.add_argument("--seeds", type=_not_negative, nargs="+", default=[0], help="one network each (0)")
    parser.add_argument("--output", type=Path, help="folder of the sweep (experiments/pareto_X)")
    parser.add_argument("--jobs", type=_positive, help="how many at once (1)")
    parser.add_argument("--retries", type=_not_negative, default=1, help="attempts after a failed one (1)")
    parser.add_argument("--slurm", nargs="*", metavar="KEY=VALUE", help="run on a cluster: partition=gpu time=600 ...")
    for stage in STAGES:
        text = f"change options of the {stage}, such as logger:print_freq=10"
        parser.add_argument(f"--force_{stage}", nargs="+", default=[], metavar="KEY:SUB=VALUE", help=text)


def output_of(args: argparse.Namespace) -> Path:
    """The folder that was asked for, or ``experiments/pareto_X`` of ``search_X.yml``."""
    stem = args.search.stem
    return args.output or Path("experiments") / f"pareto_{stem[len('search_') :] if stem[:7] == 'search_' else stem}"


def run(args: argparse.Namespace) -> List[LeftOut]:
    """Do what ``args`` asks for; returns the jobs of this call that have no result.

    Raises:
        QuantNASError: nothing was started, or a job could not be.
    """
    penalties = args.penalties or ([] if args.budgets else PENALTIES)
    sources = Sources.beside(args.search, args.train, args.test)
    changes = {stage: getattr(args, f"force_{stage}") for stage in STAGES}
    output = output_of(args)
    jobs = plan_jobs(sources, changes, output, penalties, args.budgets or [], args.seeds)
    print(f"{len(jobs)} jobs in {output}", flush=True)
    run_sweep(jobs, args.jobs, args.retries, args.slurm)
    names = {job.name for job in jobs}
    return [job for job in collect(output)[1] if job.name in names]
