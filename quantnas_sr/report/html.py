"""Pieces of a page that needs nothing but itself: no network, no script, pictures inside."""

import base64
from html import escape
from pathlib import Path
from typing import Sequence

_KINDS = {".png": "image/png", ".svg": "image/svg+xml"}

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 2.5rem 1.25rem 4rem; background: #fff; color: #1d2329;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 3rem 0 .75rem; padding-top: .75rem; border-top: 1px solid #e3e6ea; }
p { margin: .5rem 0; max-width: 46rem; }
.lede { font-size: 1.05rem; color: #3c4650; }
.note, figcaption { color: #5c6670; font-size: .875rem; }
.warning { border-left: 4px solid #c0504d; background: #fdf3f2; padding: .6rem .9rem; margin: 1.25rem 0; }
.warning p { margin: .2rem 0; }
figure { margin: 0; }
img { display: block; max-width: 100%; height: auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.25rem; }
.scroll { overflow-x: auto; margin: .75rem 0; }
.scroll.wide img { min-width: 50rem; width: 100%; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; width: 100%; }
table.narrow { width: auto; }
th, td { padding: .4rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e9ecef; }
th { font-weight: 600; color: #3c4650; vertical-align: bottom; border-bottom: 2px solid #cfd5da; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.text, th.text { text-align: left; white-space: normal; min-width: 16rem; }
tr.front td { background: #eef4fa; }
tr.front td:first-child { box-shadow: -.5rem 0 #eef4fa, inset 0 0 #fff; font-weight: 600; }
details { border-top: 1px solid #e9ecef; padding: .6rem 0; }
summary { cursor: pointer; font-weight: 600; }
summary span { font-weight: 400; color: #5c6670; }
code { font-size: .875em; background: #f3f5f7; padding: .1em .3em; border-radius: 3px; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .35rem 1.25rem; max-width: 50rem; }
dt { font-weight: 600; }
dd { margin: 0; min-width: 0; }
@media (max-width: 40rem) { body { padding-top: 1.5rem; } h1 { font-size: 1.45rem; } dl { display: block; }
  dd { margin-bottom: .6rem; } }
@media print { details, .pair, figure { break-inside: avoid; } }
"""


def data_uri(path: Path) -> str:
    """A PNG or SVG file as a URI that holds it."""
    return f"data:{_KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def image(path: Path, text: str) -> str:
    """A picture, with the text that stands for it where it cannot be seen."""
    return f'<img src="{data_uri(path)}" alt="{escape(text)}">'


def figure(path: Path, text: str, caption: str = "", wide: bool = False) -> str:
    """A picture with a caption; a wide one scrolls in a box of its own where the page is narrow."""
    box = f'<div class="scroll wide">{image(path, text)}</div>' if wide else image(path, text)
    return f"<figure>{box}{f'<figcaption>{escape(caption)}</figcaption>' if caption else ''}</figure>"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    marked: Sequence[int] = (),
    text: Sequence[int] = (),
    narrow: bool = False,
) -> str:
    """A table in a box that scrolls by itself.

    Args:
        head: of the columns.
        rows: their cells.
        marked: indices of rows that stand out.
        text: indices of columns that hold sentences, not numbers.
        narrow: no wider than its cells need.
    """

    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = [' class="text"' if i in text else "" for i in range(len(row))]
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, row))

    lines = [f"<tr{' class=front' if i in marked else ''}>{cells('td', row)}</tr>" for i, row in enumerate(rows)]
    body = "\n".join(lines)
    kind = " class=narrow" if narrow else ""
    inside = f"<thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table{kind}>{inside}</table></div>'


def section(title: str, *content: str) -> str:
    """A heading and what stands below it; empty when nothing does."""
    inside = "\n".join(filter(None, content))
    return f"<section><h2>{escape(title)}</h2>\n{inside}\n</section>" if inside else ""


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{f' class={kind}' if kind else ''}>{escape(text)}</p>"


def document(title: str, *content: str) -> str:
    """The whole page."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    body = "\n".join(filter(None, content))
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>{escape(title)}</title><style>{STYLE}</style></head>\n'
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )
