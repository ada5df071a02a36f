"""A page in a headless Chromium, at a given width."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any, Dict, Optional

#: Chromium's windows have a least width; a frame has none, and the page in it sees no other width than its own.
FRAME = """<!doctype html><body style="margin:0"><iframe id="frame" src="{page}"
 style="border:0;width:{width}px;height:{height}px"></iframe><pre id="seen" hidden></pre><script>
const frame = document.getElementById("frame");
frame.onload = () => {{
  const page = frame.contentDocument, images = [...page.images];
  const closed = [...page.querySelectorAll("details:not([open])")];
  closed.forEach(details => details.open = true);
  const seen = {{
    innerWidth: frame.contentWindow.innerWidth,
    scrollWidth: page.documentElement.scrollWidth,
    images: images.length,
    broken: images.filter(image => !image.complete || !image.naturalWidth).map(image => image.alt),
    requests: frame.contentWindow.performance.getEntriesByType("resource")
      .map(entry => entry.name).filter(name => !name.startsWith("data:")),
  }};
  closed.forEach(details => details.open = false);
  seen.height = page.documentElement.scrollHeight;
  document.getElementById("seen").textContent = "SEEN" + JSON.stringify(seen) + "SEEN";
}};
</script>"""


def chromium() -> Optional[str]:
    """Its path, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


def look_at(page: Path, width: int, screenshot: Path) -> Dict[str, Any]:
    """What the browser says about the page at this width, and a picture of all of it."""
    seen = _measure(page, width, 900, screenshot)
    frame = _frame(page, width, seen["height"], screenshot)
    _run(
        frame, f"--screenshot={screenshot}", f"--window-size={max(width, 500)},{seen['height']}", screenshot=screenshot
    )
    frame.unlink()
    return seen


def _frame(page: Path, width: int, height: int, screenshot: Path) -> Path:
    frame = screenshot.with_suffix(".frame.html")
    frame.write_text(FRAME.format(page=page.resolve().as_uri(), width=width, height=height))
    return frame


def _measure(page: Path, width: int, height: int, screenshot: Path) -> Dict[str, Any]:
    frame = _frame(page, width, height, screenshot)
    dom = _run(frame, "--dump-dom", f"--window-size={max(width, 500)},{height}", screenshot=screenshot)
    return json.loads(unescape(re.search("SEEN(\\{.*\\})SEEN", dom)[1]))


def _run(page: Path, *arguments: str, screenshot: Path) -> str:
    profile = screenshot.with_suffix(".profile")
    fixed = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files"]
    fixed += ["--virtual-time-budget=20000", f"--user-data-dir={profile}", "--no-first-run"]
    command = [chromium(), *fixed, *arguments, page.resolve().as_uri()]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    finally:
        shutil.rmtree(profile, ignore_errors=True)
