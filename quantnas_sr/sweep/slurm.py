"""Jobs of a sweep on a Slurm cluster, through submitit."""

import shutil
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence

from quantnas_sr.errors import MissingExtraError, OptionError
from quantnas_sr.sweep.job import SweepJob, run_job
from quantnas_sr.system.cpus import available_cpus
from quantnas_sr.values.plain_yaml import PlainYamlError, parse_yaml

#: Parameters that submitit has for every kind of cluster; all others are those of sbatch.
COMMON = ("cpus_per_task", "gpus_per_node", "mem_gb", "nodes", "tasks_per_node", "timeout_min")


class ClusterJob:
    """Runs a job on a node. After a time limit or a preemption submitit calls `checkpoint`."""

    def __call__(self, job: SweepJob, retries: int) -> None:
        run_job(job, retries, threads=available_cpus())

    def checkpoint(self, *args: Any) -> Any:
        """Submit the job again, to continue from its checkpoints."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *args)


def parse_parameters(given: Sequence[str]) -> Dict[str, Any]:
    """
    >>> parse_parameters(["partition=gpu", "time=600", "gpus_per_node=1"])
    {'slurm_partition': 'gpu', 'slurm_time': 600, 'gpus_per_node': 1}

    Raises:
        OptionError: not ``key=value``.
    """
    parameters = {}
    for entry in given:
        key, equals, value = entry.partition("=")
        if not equals or not key:
            raise OptionError(f"--slurm: {entry!r} must look like partition=gpu")
        try:
            parameters[key if key in COMMON else f"slurm_{key}"] = parse_yaml(value)
        except PlainYamlError as error:
            raise OptionError(f"--slurm: {entry!r}: the value is not YAML: {error}") from None
    return parameters


@contextmanager
def run_on_cluster(
    jobs: Sequence[SweepJob], given: Sequence[str], at_once: Optional[int], retries: int, cluster: str = "slurm"
) -> Iterator[List[Any]]:
    """Submit every job; an exception within the block cancels them. Yields submitit's futures.

    Args:
        jobs: of `plan_jobs`; the nodes must find their folders under the same path.
        given: ``key=value``, see `parse_parameters`.
        at_once: the largest number of jobs that run at the same time; None: no limit.
        retries: as `run_job`.
        cluster: ``slurm``; ``local`` or ``debug``, submitit's processes on this machine or this process.

    Raises:
        MissingExtraError: submitit is not installed.
        OptionError: there is no Slurm here, or it does not know a key.
    """
    try:
        import submitit
    except ImportError:
        raise MissingExtraError("--slurm", "submitit", "sweep") from None
    parameters = parse_parameters(given)
    if cluster == "slurm" and not shutil.which("sbatch"):
        raise OptionError("--slurm: there is no Slurm on this machine (no sbatch on the PATH)")
    executor = submitit.AutoExecutor(folder=jobs[0].folder.parent / ".slurm", cluster=cluster)
    try:
        executor.update_parameters(name="quantnas", slurm_array_parallelism=at_once or len(jobs), **parameters)
    except (NameError, TypeError, ValueError) as error:
        raise OptionError(f"--slurm: {' '.join(str(error).split())}") from None
    submitted = executor.map_array(ClusterJob(), jobs, [retries] * len(jobs))
    try:
        yield submitted
    except BaseException:
        for job in submitted:
            job.cancel()
        raise
