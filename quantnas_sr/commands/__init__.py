"""What each command of `quantnas` is given and does; the table of them is in ``cli.py``.

A module here has ``add_arguments(parser)`` and ``run(args)``. It imports nothing heavy at its top, so that help texts
come at once: what a command works with is imported in its ``run``.
"""
