"""The results of a study as plain data: ``results.json``."""

import itertools
from dataclasses import asdict
from typing import Any, Dict, List, Mapping, Optional

from study import measure
from study.statistics import Trained, improvement, kendall, of_row, paired
from study.study import Network, Study

from quantnas_sr.cost import count
from quantnas_sr.search_space import DerivedNetwork, Genotype

Data = Dict[str, Any]


def results_of(study: Study) -> Data:
    """What is there of a study, finished or not."""
    networks = [network for network in study.networks() if network.genotype.is_file()]
    measured = {name: [n for n in networks if n.row == name and _trained(n)] for name in study.plan.rows}
    rows = {name: _row(study, name, of) for name, of in measured.items() if of}
    trained = {name: [_trained(network) for network in of] for name, of in measured.items() if of}
    expected = sum(row.size() * len(study.plan.seeds_of(name)) for name, row in study.plan.rows.items())
    return {
        "plan": study.plan.name,
        "budget": study.plan.budget,
        "validation": asdict(study.plan.validation),
        "trainings": {"done": sum(map(len, itertools.chain(*trained.values()))), "planned": expected},
        "rows": rows,
        "differences": _differences(trained),
        "rank": _rank(study, networks),
        "hours": _hours(study, networks),
        "left_out": dict(study.failed),
    }


def _trained(network: Network) -> Trained:
    values = {seed: run.facts.get("psnr") for seed, run in network.trainings.items()}
    return {seed: value for seed, value in values.items() if value is not None}


def _row(study: Study, name: str, networks: List[Network]) -> Data:
    trained = [_trained(network) for network in networks]
    row: Data = {"kind": study.plan.rows[name].kind, "psnr": of_row(trained)._asdict()}
    row["test"] = _tests(networks)
    row["networks"] = [_network(network) for network in networks]
    return row


def _network(network: Network) -> Data:
    genotype = Genotype.load(network.genotype)
    data: Data = {"gbitops": count(DerivedNetwork(genotype)).bitops / 1e9, "psnr": _trained(network)}
    data["test"] = {seed: run.facts["test"] for seed, run in network.trainings.items() if "test" in run.facts}
    data["slots"] = {slot: list(choice) for slot, choice in genotype.slots.items()}
    if network.search is not None:
        facts = network.search.facts
        if "probability" not in facts:
            network.search.add_facts(**measure.decision(network.search))
        keys = ("seconds", "probability", "agreement")
        data["search"] = {key: network.search.facts.get(key) for key in keys}
    return data


def _tests(networks: List[Network]) -> Data:
    """By test set, the estimate over the networks."""
    runs = [{s: run.facts.get("test", {}) for s, run in network.trainings.items()} for network in networks]
    names = dict.fromkeys(name for by_seed in runs for tests in by_seed.values() for name in tests)
    found = {}
    for name in names:
        values = [{s: tests[name] for s, tests in by_seed.items() if name in tests} for by_seed in runs]
        found[name] = of_row([value for value in values if value])._asdict()
    return found


def _differences(trained: Mapping[str, List[Trained]]) -> List[Data]:
    """Of the first row to each of the others."""
    if not trained:
        return []
    first, *others = trained
    rows = []
    for other in others:
        by_seed = paired(trained[first], trained[other])
        row: Data = {"rows": [first, other], "improvement": improvement(trained[first], trained[other])._asdict()}
        row["by_seed"] = None if by_seed is None else by_seed._asdict()
        rows.append(row)
    return rows


def _rank(study: Study, networks: List[Network]) -> Optional[Data]:
    """Kendall's tau of a supernet's PSNR and that after a training, over the trained networks of a row."""
    asked = study.plan.rank
    if asked is None:
        return None
    ranked = [network for network in networks if network.row == asked.networks and _trained(network)]
    search = next((network.search for network in networks if network.row == asked.supernet), None)
    if len(ranked) < 2 or search is None or not search.is_done:
        return None
    known = search.facts.get("ranked", {})
    missing = [network for network in ranked if network.genotype.name not in known]
    if missing:
        genotypes = [Genotype.load(network.genotype) for network in missing]
        values = measure.psnr_in_supernet(search, genotypes, study.plan.validation)
        known = {**known, **{network.genotype.name: value for network, value in zip(missing, values)}}
        search.add_facts(ranked=known)
    before = [known[network.genotype.name] for network in ranked]
    after = [sum(_trained(network).values()) / len(_trained(network)) for network in ranked]
    return {**kendall(before, after), "supernet": before, "trained": after, "networks": asked.networks}


def _hours(study: Study, networks: List[Network]) -> Data:
    """Of searches and of trainings, one after another."""
    of = {"search": study.first_runs(), "train": [run for n in networks for run in n.trainings.values()]}
    return {kind: round(sum(run.facts.get("seconds", 0.0) for run in runs) / 3600, 3) for kind, runs in of.items()}
