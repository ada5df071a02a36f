"""``quantnas prepare folder`` and ``quantnas prepare div2k``."""

import argparse
import signal
import sys
from pathlib import Path

from quantnas_sr.commands.arguments import add_max_pixels, not_negative, positive
from quantnas_sr.data.prepare.settings import (
    DIV2K_COUNTS,
    DIV2K_SCALES,
    DIV2K_URL,
    GT_SIZE,
    LAYOUTS,
    STEP,
    THRESHOLD,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the sub-commands ``folder`` and ``div2k``."""
    sources = parser.add_subparsers(dest="source", required=True, metavar="folder|div2k")
    _add_folder(sources.add_parser("folder", help="your own photographs: a folder of images, with its sub-folders"))
    _add_div2k(sources.add_parser("div2k", help="download DIV2K, or use a copy that you have"))


def run(args: argparse.Namespace) -> None:
    """Do what ``args`` asks for and print the YAML lines to paste. Raises DataError or OptionError."""
    from quantnas_sr.data.prepare import SubImages, prepare_div2k, prepare_folder
    from quantnas_sr.data.prepare.find import find_others
    from quantnas_sr.data.prepare.sets import summary
    from quantnas_sr.images.folders import left_out_line

    # `kill` cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    cut = SubImages(args.gt_size, args.step, args.threshold)
    if args.source == "folder":
        prepared = prepare_folder(
            args.folder,
            args.output,
            scale=args.scale,
            name=args.name,
            layout=args.layout,
            cut=cut if args.subimages else None,
            min_size=args.min_size,
            hold_out=args.hold_out,
            skip_broken=args.skip_broken,
            overwrite=args.overwrite,
            workers=args.workers,
            most_pixels=args.max_pixels,
        )
        others = find_others(args.folder)
        if others:
            print(left_out_line(others, "an image"), file=sys.stderr)
    else:
        prepared = prepare_div2k(
            args.output,
            scale=args.scale,
            source=args.source_folder,
            url=args.url,
            parts=[args.only] if args.only else list(DIV2K_COUNTS),
            cut=cut,
            overwrite=args.overwrite,
            workers=args.workers,
            most_pixels=args.max_pixels,
        )
    print(summary(prepared))


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of photographs")
    _add_common(parser, Path("datasets"))
    parser.add_argument("--scale", type=int, default=4, help="scale of the networks to train, 2 or more (default: 4)")
    parser.add_argument("--name", help="first part of the names of the results (default: the folder's name)")
    parser.add_argument(
        "--as",
        dest="layout",
        choices=LAYOUTS,
        default=LAYOUTS[0],
        help="lmdb: to train on; folders: whole images in NAME/GTmodS and NAME/LRbicxS, to test on (default: lmdb)",
    )
    parser.add_argument("--no-subimages", dest="subimages", action="store_false", help="store whole images in the LMDB")
    parser.add_argument("--min-size", type=positive, metavar="N", help="leave out images with a side below N pixels")
    parser.add_argument(
        "--hold-out",
        type=not_negative,
        default=0,
        metavar="N",
        help="keep N images apart for validation, in folders NAME_val",
    )
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave out files that cannot be decoded, instead of stopping"
    )


def _add_div2k(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, Path("datasets/DIV2K"))
    parser.add_argument(
        "--scale", type=int, choices=DIV2K_SCALES, default=4, help="scale of the networks to train (default: 4)"
    )
    parser.add_argument(
        "--from",
        dest="source_folder",
        type=Path,
        metavar="DIR",
        help="folder that has the archives, packed or unpacked",
    )
    parser.add_argument(
        "--url", default=DIV2K_URL, help=f"address to download the archives from (default: {DIV2K_URL})"
    )
    parser.add_argument("--only", choices=list(DIV2K_COUNTS), help="prepare one part instead of both")


def _add_common(parser: argparse.ArgumentParser, output: Path) -> None:
    parser.add_argument(
        "--output", type=Path, default=output, metavar="OUT", help=f"folder to write (default: {output})"
    )
    parser.add_argument(
        "--gt-size",
        type=int,
        default=GT_SIZE,
        metavar="N",
        help=f"side of a sub-image in pixels (default: {GT_SIZE})",
    )
    parser.add_argument(
        "--step",
        type=int,
        default=STEP,
        metavar="N",
        help=f"distance between sub-images in pixels (default: {STEP})",
    )
    parser.add_argument(
        "--threshold",
        type=int,
        default=THRESHOLD,
        metavar="N",
        help=f"no further sub-image for at most N pixels that are left at the border (default: {THRESHOLD})",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results that already exist")
    add_max_pixels(parser)
    parser.add_argument("--workers", type=positive, metavar="N", help="processes (default: one for each CPU)")
