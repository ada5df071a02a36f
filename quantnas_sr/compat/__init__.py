"""Makes BasicSR (1.3.4.9 to 1.4.2 and GitHub master) work on today's torch, torchvision and Python, and without a GPU.

``apply`` installs every patch. Each is one function whose docstring names the defect, and changes something only where
the defect is: the functions of BasicSR are wrapped, never copied. Projects that only import this package must run as
they did: a patch leaves alone what it does not know.
"""

import functools

from quantnas_sr.compat.imports import (
    provide_functional_tensor,
    provide_version,
    reach_child_processes,
    when_all_is_imported,
    when_basicsr_is_imported,
)

__all__ = ["apply", "when_all_is_imported", "when_basicsr_is_imported"]


@functools.cache
def apply() -> None:
    """Install every patch, once: of BasicSR at the end of its import, or now if it is imported already."""
    provide_functional_tensor()
    provide_version()
    reach_child_processes()
    when_basicsr_is_imported(_patch_basicsr)


def _patch_basicsr() -> None:
    from quantnas_sr.compat import data, models, no_cuda, options, resume, training

    models.load_weights_only()
    models.offer_torch_optimizers()
    models.average_buffers()
    resume.resume_anywhere()
    no_cuda.distribute_without_cuda()
    no_cuda.wrap_network_without_cuda()
    training.remember_resumed_iteration()
    training.train_all_iterations()
    training.give_signals_back()
    options.read_plain_yaml()
    options.write_as_utf8()
    options.take_whole_seeds()
    options.prepare_runs()
    data.name_broken_pairs()
    data.report_prefetch_failures()
