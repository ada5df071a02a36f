"""One step of quantization-aware training against the same network in plain float.

    python benchmarks/train_step.py [--rounds 9] [--output benchmarks/results]

The basic network, 36 channels, 3 blocks, all operations 3x3; batch 16, LR 32x32. Leave the machine alone meanwhile.
"""

import argparse
from pathlib import Path

from side_by_side import Case, measure, table

from quantnas_sr.system.files import written_aside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--compile", action="store_true", help="torch.compile too; takes a C++ compiler")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    maker = ("steps", "train")
    cases = [
        Case("quantized, 8 bits, float32", maker, {"bits": 8}),
        Case("quantized, 4 bits, float32", maker, {"bits": 4}),
        Case("plain float32", maker, {"bits": None}),
        Case("quantized, 8 bits, bfloat16", maker, {"bits": 8, "amp": "bfloat16"}),
        Case("plain bfloat16", maker, {"bits": None, "amp": "bfloat16"}),
    ]
    if args.compile:
        cases += [
            Case("quantized, 8 bits, float32, torch.compile", maker, {"bits": 8, "compiled": True}),
            Case("plain float32, torch.compile", maker, {"bits": None, "compiled": True}),
        ]
    results, c = measure(cases, args.rounds)
    text = [
        "# One training step",
        "Basic network, 36 channels, 3 blocks, all 3x3, batch 16, LR 32x32.",
        table(results, c),
    ]
    eight, four, plain, eight_half, plain_half = (r.median for r in results[:5])
    text.append(
        f"Quantized over plain: float32 {eight / plain:.2f} (8 bits), {four / plain:.2f} (4 bits); "
        f"bfloat16 {eight_half / plain_half:.2f}."
    )
    with written_aside(args.output / "train_step.md") as aside:
        aside.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print("\n\n".join(text))


if __name__ == "__main__":
    main()
