"""The pages in a real browser: what sorts, hides and stays in view. Skipped where chromium is not installed."""

import json
import re
import shutil
import subprocess

import pytest
from test_table import demo

from chowder.report.table import html

CHROMIUM = shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed (apt-get install chromium)")


def seen(page, folder, script, width=1000):
    """What ``script`` (an expression) is in the page, in a window of that width."""
    path = folder / "page.html"
    ask = f"<script>document.title = JSON.stringify((function () {{{script}}})());</script></body>"
    path.write_text(page.replace("</body>", ask))
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},700", "--dump-dom"]
    done = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(re.search(r"<title>(.*?)</title>", done.stdout)[1].replace("&gt;", ">").replace("&lt;", "<"))


def test_the_benchmark_table_sorts_hides_and_keeps_names_and_heading_in_view(tmp_path):
    found = seen(
        html.to_html(demo()),
        tmp_path,
        """
        var q = function (what) { return document.querySelector(what); }, box = q(".scroll"), result = {};
        var names = function () {
          return Array.from(document.querySelectorAll("tbody th")).map(function (e) { return e.textContent; });
        };
        result.page = document.documentElement.scrollWidth <= innerWidth;
        result.before = names();
        q('th[data-column="auc_test"] button').click();
        result.down = names();
        q('th[data-column="auc_test"] button').click();
        result.up = names();
        result.sorted = q('th[data-column="auc_test"]').getAttribute("aria-sort");
        box.style.width = "400px"; box.style.height = "120px"; box.scrollLeft = 300; box.scrollTop = 60;
        var frame = box.getBoundingClientRect(), name = q("tbody th").getBoundingClientRect();
        var head = q('th[data-column="method"]').getBoundingClientRect();
        result.name = Math.abs(name.left - frame.left) < 3;
        result.head = Math.abs(head.top - frame.top) < 3 && Math.abs(head.left - frame.left) < 3;
        result.shown = q('th[data-column="sens_at_2"]').offsetWidth > 0;
        q('input[data-group="g1"]').click();
        result.hidden = q('th[data-column="sens_at_2"]').offsetWidth === 0 && q("td.g2").offsetWidth > 0;
        return result;
        """,
    )
    assert found.pop("before") == ["MeanPool", "WELDON R=10", "CHOWDER R=5"] == found.pop("up")
    assert found.pop("down") == ["CHOWDER R=5", "WELDON R=10", "MeanPool"]
    assert found.pop("sorted") == "ascending"
    assert found == dict.fromkeys(["page", "name", "head", "shown", "hidden"], True)
