"""Packaging of quantnas_sr."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

runtimes = [
    # Before 1.21 it has no DepthToSpace of integers. Python 3.9 has only older ones: there OpenVINO checks and runs.
    "onnxruntime>=1.21; python_version >= '3.10'",
    "openvino",
]
export = ["onnx", "onnxscript", *runtimes]
# PyAV: videos. 15.1 is the last one for Python 3.9; chapters need 16.
run = [*runtimes, "av>=15.1"]
report = ["matplotlib", "jinja2"]
sweep = ["submitit"]
# Python 3.9 and Intel Macs have only older ones.
litert = ["ai-edge-litert>=2.3; python_version >= '3.10' and (sys_platform != 'darwin' or platform_machine == 'arm64')"]
spandrel = ["spandrel; python_version >= '3.10'"]

setup(
    name="quantnas_sr",
    version=runpy.run_path("quantnas_sr/version.py")["__version__"],
    description="Search for quantized super-resolution networks, a plug-in for BasicSR",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="QuantNAS-SR authors",
    license="Apache-2.0",
    packages=find_packages(include=["quantnas_sr", "quantnas_sr.*"]),
    package_data={
        "quantnas_sr.report": ["*.jinja"],
        "quantnas_sr.networks": ["*/*.onnx", "*/*.pth", "*/*.yml", "*/*.log"],
    },
    python_requires=">=3.9",
    install_requires=[
        # A project keeps the BasicSR that it pins, if it is one that this package works with.
        "basicsr>=1.3.4.9",
        "torch>=2.4",
        "torchvision>=0.19",
        "numpy",
        "opencv-python",
        "lmdb",
        "pyyaml",
        # These come with BasicSR or torch too, and so does tensorboard (as tb-nightly). They stand here since they are
        # imported.
        "filelock",
        "pillow",
        "requests",
        "scipy",
        "tqdm",
        # BasicSR imports distutils, which Python 3.12 dropped and setuptools provides.
        "setuptools; python_version >= '3.12'",
    ],
    extras_require={
        "export": export,
        "run": run,
        "report": report,
        "sweep": sweep,
        "spandrel": spandrel,
        "litert": litert,
        "test": ["pytest", "pytest-xdist>=3.2", *export, *run, *report, *sweep, *spandrel, *litert],
        "dev": ["ruff==0.17.*", "pre-commit"],
    },
    entry_points={
        "console_scripts": [
            "quantnas = quantnas_sr.cli:main",
            "basicsr = quantnas_sr.cli:basicsr_main",
        ],
        "basicsr.plugins": ["quantnas_sr = quantnas_sr"],
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
)
