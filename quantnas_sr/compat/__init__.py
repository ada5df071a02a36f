"""Makes BasicSR 1.4.2 (PyPI and GitHub master) work on today's torch, torchvision and Python, and without a GPU.

``apply`` installs every patch. Each is one function whose docstring names the defect, and changes something only where
the defect is: the functions of BasicSR are wrapped, never copied.
"""

import functools

from quantnas_sr.compat.imports import provide_functional_tensor, reach_child_processes, when_basicsr_is_imported

__all__ = ["apply", "when_basicsr_is_imported"]


@functools.cache
def apply() -> None:
    """Install every patch, once.

    This imports BasicSR. Where BasicSR is importing us instead, its parts are patched at the end of its import.
    """
    provide_functional_tensor()
    reach_child_processes()
    when_basicsr_is_imported(_patch_basicsr)


def _patch_basicsr() -> None:
    from quantnas_sr.compat import data, models, no_cuda, options, resume

    models.load_weights_only()
    models.offer_torch_optimizers()
    models.average_buffers()
    resume.resume_anywhere()
    no_cuda.distribute_without_cuda()
    no_cuda.wrap_network_without_cuda()
    options.read_plain_yaml()
    options.write_as_utf8()
    options.prepare_runs()
    data.name_broken_pairs()
    data.take_luma_of_single_images()
    data.report_prefetch_failures()
