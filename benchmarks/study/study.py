"""All runs of a plan, carried out and measured. Several processes may share the runs of one output folder."""

from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event, Lock
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from study import measure
from study.plan import Images, Plan
from study.rows import Searched
from study.run import Run
from tqdm import tqdm

from quantnas_sr.errors import QuantNASError
from quantnas_sr.sweep.plan import check_stage
from quantnas_sr.sweep.runner import interrupted_by_signals
from quantnas_sr.system.cpus import available_cpus

#: Seconds after which a run that another process has is looked at again.
POLL_SECONDS = 5.0


class Network(NamedTuple):
    """A network of a row.

    Attributes:
        row: its name.
        genotype: its file.
        search: the run that found it.
        trainings: by seed.
    """

    row: str
    genotype: Path
    search: Optional[Run]
    trainings: Mapping[int, Run]


class Study:
    """A plan, and the folder of its results.

    Args:
        plan: what is done.
        output: the folder; its name is the start of the names of the runs.
        jobs: runs at the same time in this process, each with an equal share of the cores.
    """

    def __init__(self, plan: Plan, output: Path, jobs: int = 1) -> None:
        self.plan, self.output, self.jobs = plan, output, jobs
        self.threads = max(1, available_cpus() // jobs)
        #: Why runs and rows were left out, by name.
        self.failed: Dict[str, str] = {}
        self._stop, self._measuring = Event(), Lock()

    def run(self, name: str, options: Mapping[str, Any], after: Optional[Run] = None) -> Run:
        """A run of this study, see `rows.Context`."""
        return Run(self.output / "runs", {**options, "name": f"{self.output.name}_{name}"}, after)

    def genotype_file(self, row: str, number: int) -> Path:
        """Where the genotype of a network of a row is."""
        return self.output / "genotypes" / f"{row}_{number}.yml"

    def first_runs(self) -> List[Run]:
        """What must have run before all genotypes are known."""
        return [run for name, row in self.plan.rows.items() for run in row.runs(self, name)]

    def networks(self) -> List[Network]:
        """All networks, row by row."""
        found = []
        for name, row in self.plan.rows.items():
            searches = row.searches(self, name) if isinstance(row, Searched) else []
            for number in range(row.size()):
                genotype = self.genotype_file(name, number)
                trainings = {
                    seed: self.run(
                        f"{name}_{number}_t{seed}", self.plan.train_options(str(genotype), seed, row.train_options)
                    )
                    for seed in self.plan.seeds_of(name)
                }
                found.append(Network(name, genotype, searches[number] if searches else None, trainings))
        return found

    def check(self) -> None:
        """Check the options of all runs.

        Raises:
            QuantNASError: one line that names the row and the key.
        """
        trained = set()
        for name, row in self.plan.rows.items():
            example = row.example(self, name).to_dict()
            kinds = {}
            for run in row.runs(self, name):
                run.check()
                kinds["genotype" in run.options["network_g"]] = run.options  # of all seeds one is enough
            for reads_genotype, options in kinds.items():
                check_stage(options, "search", f"rows.{name}", example if reads_genotype else None)
            alike = repr([row.train_options, {**example, "slots": None, "origin": None}])
            if alike not in trained:
                options = self.plan.train_options(example, 0, row.train_options)
                check_stage({**options, "name": name}, "train", f"rows.{name}: the training", None)
            trained.add(alike)
        for network in self.networks():
            for run in network.trainings.values():
                run.check()

    def carry_out(self) -> None:
        """Run what is not done yet, and measure it. What fails is left out, see `failed`.

        Raises:
            KeyboardInterrupt: Ctrl-C, or SIGTERM. What was started has been ended, and the next call goes on.
        """
        first = self.first_runs()
        with interrupted_by_signals():
            self._all([run for run in first if run.after is None], "searches")
            self._all([run for run in first if run.after is not None], "second searches")
            for name in self.plan.rows:
                self._write_genotypes(name)
            self._all(self._trainings(), "trainings", self._measure)
            if self.plan.test and not self.failed:
                self._all(self._trainings(), "test sets", self._test)

    def _trainings(self) -> List[Run]:
        """Seed by seed, so that all rows can be compared early."""
        networks = [network for network in self.networks() if network.genotype.is_file()]
        seeds = dict.fromkeys(seed for network in networks for seed in network.trainings)
        return [network.trainings[seed] for seed in seeds for network in networks if seed in network.trainings]

    def _write_genotypes(self, name: str) -> None:
        row = self.plan.rows[name]
        paths = [self.genotype_file(name, number) for number in range(row.size())]
        if all(path.is_file() for path in paths):
            return
        try:
            for path, genotype in zip(paths, row.genotypes(self, name)):
                genotype.save(path)
        except QuantNASError as error:
            self.failed[name] = str(error)

    def _all(self, runs: Sequence[Run], what: str, then: Optional[Callable[[Run], None]] = None) -> None:
        waiting = list(runs) if then else [run for run in runs if not run.is_done]
        if not waiting:
            return
        shown = {"desc": what, "unit": "run", "smoothing": 0, "mininterval": 0}  # what was done already, too
        with ThreadPoolExecutor(self.jobs) as pool, tqdm(total=len(waiting), **shown) as bar:
            try:
                while waiting:  # what other processes have is left to them, and looked at again after the rest
                    futures = {pool.submit(self._one, run, then): run for run in waiting}
                    for future in as_completed(futures):
                        if future.result():
                            waiting.remove(futures[future])
                            bar.update()
                    if waiting:
                        self._stop.wait(POLL_SECONDS)
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, run: Run, then: Optional[Callable[[Run], None]]) -> bool:
        """Carry a run out, unless another process has it; returns whether that is not so."""
        with run.locked() as mine:
            if mine:
                reason = None if run.is_done else run.carry_out(self.threads, self._stop)
                if reason is not None:
                    self.failed[run.name] = reason
                elif then is not None:
                    then(run)
            return mine

    def _measure(self, run: Run) -> None:
        """One at a time, for PyTorch's exporter is not for several threads."""
        with self._measuring:
            if "psnr" not in run.facts:
                run.add_facts(psnr=self._psnr(run, self.plan.validation))

    def _test(self, run: Run) -> None:
        with self._measuring:
            if "test" not in run.facts:
                run.add_facts(test={name: self._psnr(run, images) for name, images in self.plan.test.items()})

    def _psnr(self, run: Run, images: Images) -> float:
        path = measure.exported(run, self.output / "exported")
        return measure.psnr_of_file(path, images, self.threads)
