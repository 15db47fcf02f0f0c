"""A real browser for the tests: what a page looks like, and what it fetches."""

import contextlib
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest

#: Names that headless Chromium goes by.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--virtual-time-budget=3000",
)
#: Looks into a frame of a given width from outside: the page itself runs no script.
_LOOK = """<!DOCTYPE html><link rel="icon" href="data:,">
<iframe id="frame" src="/page.html"
style="width:%dpx;height:4000px;border:0"></iframe><pre id="seen"></pre><script>
document.getElementById('frame').onload = event => {
  const frame = event.target, page = frame.contentDocument;
  const boxes = [...page.querySelectorAll('svg[role=img]')].map(drawing => {
    const box = drawing.getBoundingClientRect();
    return {title: drawing.getAttribute('aria-label'), width: box.width,
            height: box.height, left: box.left};
  });
  document.getElementById('seen').textContent = JSON.stringify({
    boxes,
    fetched: frame.contentWindow.performance.getEntriesByType('resource')
      .map(entry => entry.name),
    sections: [...page.querySelectorAll('h2')].map(h => h.textContent),
    page_width: page.documentElement.scrollWidth,
    visible_width: page.documentElement.clientWidth,
  });
};
</script>"""


def find() -> str:
    """Path of the browser; skips the test where there is none."""
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")


def _run(*flags: str, folder: pathlib.Path) -> str:
    done = subprocess.run(
        [find(), *_FLAGS, f"--user-data-dir={folder / 'profile'}", *flags],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def _proxy(pages: dict[str, bytes]) -> Iterator[str]:
    """Address of all the network that the browser has: pages by path, nothing else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            url = urlsplit(self.path)
            body = pages.get(url.path) if url.hostname == "pages.test" else None
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def look(page: pathlib.Path, *, width: int, folder: pathlib.Path) -> dict[str, Any]:
    """What the browser made of a page at a width in pixels.

    Its drawings (title and box), headings of sections, what the page asked for beside
    itself, whether it got it or not, and the widths of the page and of what is visible.
    """
    pages = {
        "/outside.html": (_LOOK % width).encode(),
        "/page.html": page.read_bytes(),
    }
    with _proxy(pages) as address:
        dom = _run(
            f"--proxy-server={address}",
            "--dump-dom",
            "http://pages.test/outside.html",
            folder=folder,
        )
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.S)
    assert found, dom[:500]
    return json.loads(unescape(found[1]))


def print_to_pdf(page: pathlib.Path, *, folder: pathlib.Path) -> bytes:
    """The page as it is printed."""
    file = folder / "page.pdf"
    _run(f"--print-to-pdf={file}", page.resolve().as_uri(), folder=folder)
    return file.read_bytes()
