"""Mutated genotype files, and files of bit widths by layer: ``--count N --seed S``."""

import json
from pathlib import Path
from random import Random
from typing import Any, Callable

from fuzzing import OF_TEXT, main
from mutations import from_yaml, mutated, mutated_bytes, mutated_text, to_yaml

from quantnas_sr.mixed_precision.bits_by_layer import BitsByLayer
from quantnas_sr.options.described import network_of_file
from quantnas_sr.search_space import DerivedNetwork, Genotype, Supernet

ARCH = {"type": "ESPCN", "num_feat": 4}
#: The layers of `ARCH`, and some of another network.
LAYERS = ("conv1", "conv2", "conv3")


class Genotypes:
    """Files that a search writes."""

    name = "genotypes"
    limits = OF_TEXT

    def prepare(self, folder: Path) -> None:
        """The genotypes of three spaces, and bit widths by layer."""
        spaces = ("basic", "plain", "plain", "plain", "rfdn")  # the last is built slowly
        genotypes = [Supernet(space, num_feat=6, num_block=1).genotype({"iter": 5}) for space in spaces]
        self.texts = [genotype.to_yaml() for genotype in genotypes]
        network = network_of_arch()
        self.texts += 2 * [to_yaml({**network, "origin": {"arch": ARCH, "activation_quantizer": "lsq"}})]
        self.file = folder / "found.yml"

    def case(self, rng: Random) -> Callable[[], Any]:
        """Read a file as a genotype, as any description of a network, or as widths."""
        text = rng.choice(self.texts)
        chance = rng.random()
        if chance < 0.45:
            data = mutated(rng, from_yaml(text))
            text = json.dumps(data) if rng.random() < 0.3 else to_yaml(data)
        elif chance < 0.9:
            text = mutated_text(rng, text)
        raw = text.encode("utf-8", "surrogatepass")
        self.file.write_bytes(raw if chance < 0.9 else mutated_bytes(rng, raw))
        return rng.choice((self._genotype, self._described, self._widths))

    def _genotype(self) -> Any:
        return DerivedNetwork(Genotype.load(self.file))

    def _described(self) -> Any:
        return network_of_file(self.file)

    def _widths(self) -> Any:
        return BitsByLayer.of(self.file, LAYERS)


def network_of_arch() -> Any:
    """The widths of all layers of `ARCH`."""
    from quantnas_sr.archs.quantized_arch import QuantizedArch

    return QuantizedArch(ARCH).arguments["bits_by_layer"]


if __name__ == "__main__":
    main(Genotypes())
