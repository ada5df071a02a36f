"""Does the search work, and which of its parts? One command for an experiment of many searches and trainings.

    python benchmarks/evidence.py options/evidence/plain_2.6.yml --jobs 2

The plan names rows of networks: found by searches, drawn at random, made by rules, given as files. All of them are
trained alike with several seeds, exported to integers, and measured. At the end the output folder has ``results.json``,
``report.md`` and ``report.png``; after an interruption the same command goes on. On a cluster, start it as often as
there are devices (``srun --ntasks 8 python benchmarks/evidence.py PLAN``): the processes share the runs.
"""

import argparse
import sys
from pathlib import Path

import torch

import quantnas_sr  # noqa: F401  (first, because it repairs BasicSR)
from quantnas_sr.commands.arguments import positive
from quantnas_sr.errors import QuantNASError
from quantnas_sr.export.onnx_graph.onnx_file import require_export
from quantnas_sr.report.drawing.pen import require_matplotlib


def main() -> int:
    """Carry out a plan, or what is left of it; 1 where something had to be left out."""
    from study.plan import read_plan
    from study.report import write_report
    from study.results import results_of
    from study.study import Study

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path, help="YAML file, see options/evidence/")
    parser.add_argument("--output", type=Path, help="folder (experiments/NAME, the name in the plan)")
    parser.add_argument("--jobs", type=positive, default=1, help="number of runs at the same time (1)")
    parser.add_argument("--report", action="store_true", help="write the report of what is there, and run nothing")
    args = parser.parse_args()
    try:
        require_export()
        require_matplotlib("the report of a plan")
        plan = read_plan(args.plan)
        study = Study(plan, args.output or Path("experiments") / plan.name, args.jobs)
        torch.set_num_threads(study.threads)
        study.check()
        if not args.report:
            study.carry_out()
        print(write_report(results_of(study), study.output))
    except QuantNASError as error:
        print(f"evidence: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("evidence: interrupted; the same command goes on", file=sys.stderr)
        return 130
    for name, reason in study.failed.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    return int(bool(study.failed))


if __name__ == "__main__":
    sys.exit(main())
