"""``quantnas pareto``: search, train, test for several penalties or budgets, sizes and seeds; a report of it all."""

import argparse
from pathlib import Path

from quantnas_sr.commands.arguments import budget, not_negative, penalty, positive

#: The paper's.
PENALTIES = (0, 5e-5, 1e-4, 1e-3)
_STAGES = ("search", "train", "test")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("search", type=Path, help="options file of a search, such as options/search_basic_x4.yml")
    parser.add_argument(
        "--train", type=Path, metavar="YML", help="options file of the training (train_X.yml beside search_X.yml)"
    )
    parser.add_argument(
        "--test", type=Path, metavar="YML", help="options file of the test (test_X.yml beside search_X.yml)"
    )
    usual = " ".join(f"{value:g}" for value in PENALTIES)
    parser.add_argument(
        "--penalties",
        type=penalty,
        nargs="+",
        help=f"weights of the hardware cost, hardware_opt.loss_weight, one search each ({usual}; none with --budgets)",
    )
    parser.add_argument(
        "--budgets", "--budget", type=budget, nargs="+", help="limits in GBitOps, hardware_opt.budget, one search each"
    )
    parser.add_argument(
        "--num-feat",
        type=positive,
        nargs="+",
        help="numbers of channels, one search for each; by default that of the search file",
    )
    parser.add_argument(
        "--num-block",
        type=positive,
        nargs="+",
        help="numbers of blocks, one search for each; by default that of the search file",
    )
    parser.add_argument("--seeds", type=not_negative, nargs="+", default=[0], help="random seeds, one network each (0)")
    parser.add_argument("--output", type=Path, help="folder of the sweep (experiments/pareto_X)")
    parser.add_argument("--jobs", type=positive, help="number of jobs that run at the same time (1)")
    parser.add_argument("--retries", type=not_negative, default=1, help="further attempts of a job that fails (1)")
    parser.add_argument(
        "--slurm",
        nargs="*",
        metavar="KEY=VALUE",
        help="run the jobs on a Slurm cluster, with parameters of sbatch such as partition=gpu time=600",
    )
    for stage in _STAGES:
        text = f"change options of the {stage}, such as logger:print_freq=10"
        parser.add_argument(f"--force_{stage}", nargs="+", default=[], metavar="KEY:SUB=VALUE", help=text)


def folder_of(args: argparse.Namespace) -> Path:
    """The folder that was asked for, or ``experiments/pareto_X`` of ``search_X.yml``."""
    stem = args.search.stem
    return args.output or Path("experiments") / f"pareto_{stem[len('search_') :] if stem[:7] == 'search_' else stem}"


def run(args: argparse.Namespace) -> None:
    """Run the jobs that are not done yet, and write the report.

    Raises:
        QuantNASError: nothing was started, or some of the jobs have no result.
    """
    from quantnas_sr import report, sweep
    from quantnas_sr.errors import QuantNASError

    report.require_report()
    folder = folder_of(args)
    changes = {stage: getattr(args, f"force_{stage}") for stage in _STAGES}
    penalties = args.penalties or ([] if args.budgets else PENALTIES)
    sources = sweep.Sources.beside(args.search, args.train, args.test)
    points = sweep.points_of(penalties, args.budgets or [], args.seeds, args.num_feat or [], args.num_block or [])
    jobs = sweep.plan_jobs(sources, changes, folder, points)
    print(f"{len(jobs)} jobs in {folder}", flush=True)
    sweep.run_sweep(jobs, args.jobs, args.retries, args.slurm)
    print(f"wrote {report.write_report(folder)}")
    names = {job.name for job in jobs}
    left_out = [job for job in sweep.collect(folder)[1] if job.name in names]
    if left_out:
        raise QuantNASError(f"no result from {'; '.join(map(str, left_out))}")
