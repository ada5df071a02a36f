"""The search: alternating steps of the weights and of the alphas (algorithm 1 of the paper)."""

from collections import OrderedDict
from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import torch
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from quantnas_sr.cost import count, expected_cost
from quantnas_sr.losses.entropy_loss import total_entropy
from quantnas_sr.models.experiment import ExperimentModel
from quantnas_sr.models.finite_steps import check_finite
from quantnas_sr.models.own_rates import set_own_rates
from quantnas_sr.models.phases import SearchSchedule
from quantnas_sr.quantization import NoisePool, calibrate_on
from quantnas_sr.registration import MODEL_REGISTRY
from quantnas_sr.search_space import SearchNetwork
from quantnas_sr.search_space.edge_losses import DRAWS, EXPLORATION, HALF_LIFE, EdgeLosses, trains_largest

#: Number of times that a search with a budget adapts the penalty.
PENALTY_CHECKS = 100


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Compute no gradients for these parameters."""
    parameters = list(parameters)
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def noise_pools(network: nn.Module) -> List[NoisePool]:
    """The pools that the mixed layers of a supernet draw their noise from, each once."""
    sources = (getattr(getattr(layer, "noisy_layer", None), "noise", None) for layer in network.modules())
    return list({id(source): source for source in sources if isinstance(source, NoisePool)}.values())


@MODEL_REGISTRY.register()
class QuantNASSearchModel(ExperimentModel):
    """Searches operations and bit widths.

    Each iteration has an alpha step (after ``alpha_warmup``), on the alphas' half of the data and with the full loss
    ``L1 + hardware cost + entropy``; then a step of the weights, on their half and with the pixel loss only. The alphas
    have an optimizer of their own, whose learning rate is constant. With ``selector: sample`` one edge is computed in
    each slot, and the alphas learn from the losses of drawn networks, see `edge_losses`.

    At every checkpoint and at the end the current genotype is written to ``experiments/<name>/genotype.yml`` (and
    ``genotypes/<iteration>.yml``); that of a `QuantizedSupernet` is bit widths by layer, in ``bits_by_layer.yml`` (and
    ``bits_by_layer/<iteration>.yml``). The network of this genotype, with the weights of the supernet, is
    ``models/net_derived_<iteration>.pth``, which a training can start from. With a budget, the penalty is adapted
    during the search, and the genotype is the most probable one that costs no more (with ``selector: sample``, the one
    of the lowest loss).

    Expects ``network_g: QuantNASSupernet`` or ``QuantizedSupernet``, and the data of `QuantNASSearchDataset`.
    """

    def __init__(self, opt: Dict[str, Any]) -> None:
        # in each of the two steps some parameters have no gradient, which DDP has to be told
        opt.setdefault("find_unused_parameters", True)
        super().__init__(opt)

    @property
    def supernet(self) -> SearchNetwork:
        """The network without the wrapper of (distributed) data parallel."""
        return self.get_bare_model(self.net_g)

    def init_training_settings(self) -> None:
        """Losses, optimizers and schedulers."""
        super().init_training_settings()
        train = self.opt["train"]
        self.cri_hardware = build_loss(train["hardware_opt"]).to(self.device)
        self.cri_hardware.attach(self.supernet)
        cost = self.cri_hardware
        get_root_logger().info(f"Hardware cost {cost.cost.name}: {cost.reference:.4g} {cost.cost.unit} at the start")
        self.cri_entropy = build_loss(train["entropy_opt"]).to(self.device)
        total_iter = int(train["total_iter"])
        self.schedule = SearchSchedule(total_iter, train.get("alpha_warmup"))
        self.adapt_every = max(1, total_iter // PENALTY_CHECKS)
        self.tb_writer = self._open_tensorboard()
        self.last_batch: Optional[Tensor] = None
        self.edge_losses: Optional[EdgeLosses] = None
        #: The genotype whose BitOps were counted last, and these.
        self._counted: Tuple[Any, int] = (None, 0)
        if self.supernet.selector == "sample":
            alphas = self.supernet.alphas_by_slot()
            self.edge_losses = EdgeLosses(alphas, self.supernet.bits, HALF_LIFE * total_iter, self.supernet.widthless())
            self.largest = {slot: int(costs.argmax()) for slot, costs in self.cri_hardware.costs.items()}

    def setup_optimizers(self) -> None:
        """One optimizer for the weights and one for the alphas."""
        train = self.opt["train"]
        self.optimizer_g = self._optimizer(train["optim_g"], self.supernet.weights())
        self.optimizer_alpha = self._optimizer(train["optim_alpha"], self.supernet.alphas.parameters())
        set_own_rates(self.optimizer_g, self.supernet, train)
        self.optimizers = [self.optimizer_g, self.optimizer_alpha]
        self.clip_gradients()

    def _optimizer(self, opt: Dict[str, Any], parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return self.get_optimizer(opt.pop("type"), list(parameters), **opt)

    @contextmanager
    def _weights_optimizer_only(self) -> Iterator[None]:
        """Hide the alphas' optimizer from BasicSR's schedules, which would change its rate."""
        optimizers, self.optimizers = self.optimizers, [self.optimizer_g]
        try:
            yield
        finally:
            self.optimizers = optimizers

    def setup_schedulers(self) -> None:
        """Schedule the weights' rate."""
        with self._weights_optimizer_only():
            super().setup_schedulers()

    def step_learning_rate(self, current_iter: int, warmup_iter: int) -> None:
        """Step and warm up the weights' rate."""
        with self._weights_optimizer_only():
            super().step_learning_rate(current_iter, warmup_iter)

    def feed_data(self, data: Dict[str, Any]) -> None:
        """Take a batch of `QuantNASSearchDataset`, or of a validation set."""
        super().feed_data(data)
        if "lq_alpha" in data:
            self.lq_alpha = data["lq_alpha"].to(self.device, memory_format=torch.channels_last)
            self.gt_alpha = data["gt_alpha"].to(self.device)

    def optimize_parameters(self, current_iter: int) -> None:
        """One iteration of algorithm 1."""
        progress = self.schedule.progress.at(current_iter)
        self.supernet.set_progress(progress)
        alpha_losses: Dict[str, Tensor] = OrderedDict()
        if current_iter > self.schedule.warmup_iterations:
            alpha_losses = self._alpha_step(progress)
            if current_iter % self.adapt_every == 0:
                self.cri_hardware.adapt(self.supernet.alphas_by_slot())
        with frozen(self.supernet.alphas.parameters()), self._network_of_step(current_iter):
            super().optimize_parameters(current_iter)
        self.log_dict.update(self.reduce_loss_dict(alpha_losses) if alpha_losses else {})
        if self.cri_hardware.budget:
            self.log_dict["hardware_penalty"] = self.cri_hardware.loss_weight
        if current_iter % self.opt["logger"]["print_freq"] == 0:
            self._log_alphas(current_iter)

    def keep_batch(self) -> None:
        """As for every model, and for the networks that are derived."""
        super().keep_batch()
        self.last_batch = self.lq

    @contextmanager
    def _network_of_step(self, current_iter: int) -> Iterator[None]:
        """Where networks are drawn, the largest one instead in some of the steps of the weights."""
        since_warmup = current_iter - self.schedule.warmup_iterations
        if self.edge_losses is None or not trains_largest(since_warmup):
            yield
        else:
            with self.supernet.only(self.largest):
                yield

    def _alpha_step(self, progress: float) -> Dict[str, Tensor]:
        with frozen(self.supernet.weights()):
            probabilities = self.supernet.probabilities()
            losses = OrderedDict(
                l_alpha_pix=self._alpha_pixel_loss(probabilities),
                l_hardware=self.cri_hardware(probabilities),
                l_entropy=self.cri_entropy(probabilities, progress, self.schedule.alpha_warmup),
            )
            self.optimizer_alpha.zero_grad()
            self.precision.scaler.scale(sum(losses.values())).backward()
            self.step(self.optimizer_alpha, losses, self.lq_alpha)
        return losses

    def _alpha_pixel_loss(self, probabilities: Dict[str, Tensor]) -> Tensor:
        if self.edge_losses is None:
            return self.cri_pix(self.net_g(self.lq_alpha), self.gt_alpha)
        networks = [self.supernet.draw(EXPLORATION) for _ in range(DRAWS)]
        self.edge_losses.observe(networks, torch.stack([self._loss_of(network) for network in networks]))
        return expected_cost(probabilities, self.edge_losses.table())

    @torch.no_grad()
    def _loss_of(self, network: Dict[str, int]) -> Tensor:
        with self.supernet.only(network):
            return self.cri_pix(self.supernet(self.lq_alpha), self.gt_alpha)

    def save(self, epoch: int, current_iter: int) -> None:
        """Save the current genotype, networks and training state."""
        self.recompute_statistics()
        with self.randomness_untouched():
            genotype = self.genotype(current_iter)
            self._save_genotype(genotype, current_iter)
            if self.last_batch is not None:
                torch.manual_seed(self.opt["manual_seed"])
                self.save_network(self._derived(genotype, self.last_batch), "net_derived", current_iter)
        super().save(epoch, current_iter)

    @contextmanager
    def randomness_untouched(self) -> Iterator[None]:
        """As for every model, and the pools of noise are left as they are."""
        pools = [(pool, dict(vars(pool))) for pool in noise_pools(self.supernet)]
        with super().randomness_untouched():
            try:
                yield
            finally:
                for pool, before in pools:
                    vars(pool).update(before)

    def _derived(self, genotype: Any, batch: Tensor) -> nn.Module:
        """The network of a genotype; a batch sets those steps of activations that the search does not train."""
        derived = self.supernet.derive(genotype)
        calibrate_on(derived, batch.to(self.device))
        self.recent_batches.recompute(derived)
        return derived

    @master_only
    def _save_genotype(self, genotype: Any, current_iter: int) -> None:
        label = "latest" if current_iter == -1 else current_iter
        genotype.save(self.experiment_folder / genotype.folder_name / f"{label}.yml")
        path = self.experiment_folder / genotype.file_name
        genotype.save(path)
        get_root_logger().info(f"Current genotype: {self._cost_in_words(genotype)}, saved to {path}")

    def _choice(self) -> Optional[Dict[str, int]]:
        if self.edge_losses is None:
            return self.cri_hardware.choice(self.supernet.alphas_by_slot())
        return self.cri_hardware.choice({slot: -added for slot, added in self.edge_losses.table().items()})

    def _cost_in_words(self, genotype: Any) -> str:
        budget = self.cri_hardware.budget
        if budget:
            return budget.describe(self._choice())
        if genotype != self._counted[0]:
            self._counted = genotype, count(self.supernet.derive()).bitops
        return f"{self._counted[1] / 1e9:.3f} GBitOps for 32x32"

    def genotype(self, current_iter: int) -> Any:
        """The genotype that would be derived now: the most probable one, within the budget if there is a budget.

        Raises:
            TrainingError: an alpha is not finite.
        """
        check_finite(self.supernet.alphas_by_slot(), f"iteration {self.iteration}: no genotype is derived, an alpha of")
        origin = {
            "experiment": self.opt["name"],
            "iteration": self.iteration if current_iter == -1 else current_iter,
            "seed": self.opt["manual_seed"],
            "hardware_penalty": self.cri_hardware.loss_weight,
        }
        if self.cri_hardware.budget:
            origin["budget"] = self.cri_hardware.budget.limit
        return self.supernet.genotype(origin, self._choice())

    def extra_state(self) -> Dict[str, Any]:
        """How far the search is, the penalty of a budget, what noise is drawn from, and what derived networks read."""
        pools = noise_pools(self.supernet)
        state = {"search": self.schedule.state_dict(), "noise": [pool.state_dict() for pool in pools]}
        if self.last_batch is not None:
            state["last_batch"] = self.last_batch.cpu()
        if self.edge_losses is not None:
            state["edge_losses"] = self.edge_losses.state_dict()
        if self.cri_hardware.budget:
            state["hardware_penalty"] = self.cri_hardware.penalty.state_dict()
        return state

    def resume_training(self, resume_state: Dict[str, Any]) -> None:
        """As for every model, where the search had come to: schedules, penalty, noise and last batch."""
        self.last_batch = resume_state.get("last_batch")
        if "search" in resume_state:
            self._resume_schedule(resume_state["iter"], resume_state["search"])
        if self.cri_hardware.budget and "hardware_penalty" in resume_state:
            self.cri_hardware.penalty.load_state_dict(resume_state["hardware_penalty"])
            self.cri_hardware.loss_weight = self.cri_hardware.penalty.value
        if self.edge_losses is not None and "edge_losses" in resume_state:
            self.edge_losses.load_state_dict(resume_state["edge_losses"])
        for pool, state in zip(noise_pools(self.supernet), resume_state.get("noise", ())):
            pool.load_state_dict(state)
        super().resume_training(resume_state)

    def _resume_schedule(self, done: int, saved: Dict[str, Any]) -> None:
        asked = self.schedule.warmup_iterations
        self.schedule.resume(done, saved)
        ended = self.schedule.warmup_iterations
        if asked != ended:
            self.say(
                f"train.alpha_warmup: {asked} iterations by the new options; the warm-up ended after "
                f"iteration {ended} and stays over."
            )

    def validation(self, dataloader, current_iter, tb_logger, save_img=False) -> None:
        """Validate the supernet, then the network that would be derived now, with the weights of the supernet.

        The metrics of the derived network are named ``<dataset>_derived``. The random generators of training are not
        touched. Steps of activations that the search does not train are set by the last training batch. All processes
        derive the network, whose statistics are averaged over them; the first one alone validates it.
        """
        self.recompute_statistics()
        with self.randomness_untouched():
            torch.manual_seed(self.opt["manual_seed"])
            batch = next(iter(dataloader))["lq"] if self.last_batch is None else self.last_batch
            self._to_validate = self._derived(self.genotype(current_iter), batch)
            super().validation(dataloader, current_iter, tb_logger, save_img)

    def nondist_validation(self, dataloader, current_iter, tb_logger, save_img) -> None:
        """As for every model, and once more with the derived network."""
        super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        options = dataloader.dataset.opt
        name, supernet = options["name"], self.net_g
        options["name"], self.net_g = f"{name}_derived", self._to_validate
        try:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img=False)
        finally:
            options["name"], self.net_g = name, supernet

    @master_only
    def _open_tensorboard(self) -> SummaryWriter:
        """A second writer to BasicSR's folder, because BasicSR hands its own to models in validation only."""
        logger = self.opt["logger"]
        if logger.get("use_tb_logger") and "debug" not in self.opt["name"]:
            return SummaryWriter(f"{self.opt['root_path']}/tb_logger/{self.opt['name']}")
        return None

    @master_only
    @torch.no_grad()
    def _log_alphas(self, current_iter: int) -> None:
        if self.tb_writer is None:
            return
        probabilities = self.supernet.probabilities()
        for slot, edges in self.supernet.edge_names().items():
            for edge, probability in zip(edges, probabilities[slot].flatten().tolist()):
                self.tb_writer.add_scalar(f"alphas/{slot}/{edge}", probability, current_iter)
        if self.edge_losses is not None:
            for slot, added in self.edge_losses.table().items():
                for edge, value in zip(self.supernet.edge_names()[slot], added.flatten().tolist()):
                    self.tb_writer.add_scalar(f"added_loss/{slot}/{edge}", value, current_iter)
        cost = self.cri_hardware
        best = {name: (p == p.max()).to(p) for name, p in probabilities.items()}
        self.tb_writer.add_scalar(f"cost/expected_{cost.cost.name}", cost.expected(probabilities), current_iter)
        self.tb_writer.add_scalar(f"cost/best_path_{cost.cost.name}", cost.expected(best), current_iter)
        self.tb_writer.add_scalar("search/entropy", total_entropy(probabilities), current_iter)
        self.tb_writer.add_scalar("search/temperature", self.supernet.temperature, current_iter)
