"""Packaging of quantnas_sr."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

export = ["onnx", "onnxscript", "onnxruntime", "openvino"]
report = ["matplotlib", "jinja2"]
sweep = ["submitit"]
spandrel = ["spandrel"]

setup(
    name="quantnas_sr",
    version=runpy.run_path("quantnas_sr/version.py")["__version__"],
    description="Search for quantized super-resolution networks, a plug-in for BasicSR",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="QuantNAS-SR authors",
    license="Apache-2.0",
    packages=find_packages(include=["quantnas_sr", "quantnas_sr.*"]),
    package_data={"quantnas_sr.report": ["*.jinja"]},
    python_requires=">=3.9",
    install_requires=[
        "basicsr>=1.4.2",
        "torch>=2.4",
        "torchvision>=0.19",
        "numpy",
        "opencv-python",
        "lmdb",
        "pyyaml",
        "tqdm",
        # BasicSR imports distutils, which Python 3.12 dropped and setuptools provides.
        "setuptools; python_version >= '3.12'",
    ],
    extras_require={
        "export": export,
        "report": report,
        "sweep": sweep,
        "spandrel": spandrel,
        "test": ["pytest", *export, *report, *sweep, *spandrel],
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
