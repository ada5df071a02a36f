"""Automatic mixed precision for BasicSR's training step (``train: amp``)."""

import threading
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Optional

import torch
from torch import Tensor, nn

_TYPES: Dict[str, Optional[torch.dtype]] = {"none": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def fast_in_bfloat16(device_type: str) -> bool:
    """Whether this machine multiplies matrices in bfloat16, and so convolves in less time than in float32.

    A GPU does from NVIDIA's Ampere on, a CPU with AMX. Others only store it, or emulate it.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # of newer versions of PyTorch
    return bool(capabilities().get("amx_bf16"))


class MixedPrecision:
    """Runs a network's training passes under autocast, and scales gradients where float16 needs it.

    Evaluation stays in float32, and so do losses, parameters, and the state of the optimizers.

    Args:
        amp: ``none``, ``bfloat16``, ``float16``, or ``auto``: ``bfloat16`` where it is `fast_in_bfloat16`.
        device_type: ``cpu`` or ``cuda``.
    """

    def __init__(self, amp: str, device_type: str) -> None:
        if amp == "auto":
            amp = "bfloat16" if fast_in_bfloat16(device_type) else "none"
        self.dtype = _TYPES[amp]
        self.device_type = device_type
        self._scales_output = False
        self.scaler = torch.amp.GradScaler(device_type, enabled=self.dtype is torch.float16)

    def attach(self, net: nn.Module) -> nn.Module:
        """Put the training passes of ``net`` under autocast; its output is float32. Returns ``net``."""
        if self.dtype is None:
            return net
        thread = threading.local()  # data parallel replicas run in threads of their own

        def enter(module: nn.Module, args: Any) -> None:
            if module.training:
                thread.running = torch.autocast(self.device_type, self.dtype)
                thread.running.__enter__()

        def leave(module: nn.Module, args: Any, output: Optional[Tensor]) -> Optional[Tensor]:
            running = vars(thread).pop("running", None)
            if running is None:
                return output
            running.__exit__(None, None, None)
            return None if output is None else self._scaled_on_the_way_back(output.float())

        net.register_forward_pre_hook(enter)
        net.register_forward_hook(leave, always_call=True)
        return net

    def _scaled_on_the_way_back(self, output: Tensor) -> Tensor:
        if self._scales_output and self.scaler.is_enabled() and output.requires_grad:
            scale = self.scaler.scale(torch.ones((), device=output.device))
            output.register_hook(lambda gradient: gradient * scale)
        return output

    @contextmanager
    def scaling_output(self) -> Iterator[None]:
        """Scale the gradient of the network's output: for a loss of the output alone that goes back as it is."""
        self._scales_output = True
        try:
            yield
        finally:
            self._scales_output = False

    def step(self, optimizer: torch.optim.Optimizer, allows: Callable[[float], bool]) -> None:
        """Step with the unscaled gradients.

        Args:
            optimizer: of parameters that have their gradients.
            allows: whether the step may be taken, with gradients of this scale before.
        """
        self.scaler.unscale_(optimizer)
        if allows(self.scaler.get_scale()):
            self.scaler.step(optimizer)
        self.scaler.update()


class OptimizerThatSteps:
    """What BasicSR's training step does with an optimizer, with another way to step.

    Args:
        optimizer: of the parameters.
        step: is called with it in the place of its own step.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, step: Callable[[torch.optim.Optimizer], None]) -> None:
        self.optimizer, self._step = optimizer, step

    def zero_grad(self) -> None:
        """As the optimizer's."""
        self.optimizer.zero_grad()

    def step(self) -> None:
        """The other way to step."""
        self._step(self.optimizer)
