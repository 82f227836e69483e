"""The pages in a real browser: what sorts, hides and stays in view. Skipped where chromium is not installed."""

import json
import re
import shutil
import subprocess

import pytest
from test_table import demo

from chowder.report.overview import cards
from chowder.report.table import html
from chowder.report.table.page import page

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


def test_cards_are_sorted_filtered_paged_and_enlarged(tmp_path):
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
    made = [
        cards.Card(
            f"slide_{number}",
            f"slide-slide_{number}",
            [(pixel, f"map of {number}"), (pixel, f"slide {number}")],
            [],
            {"error": number / 10, "probability": 1 - number / 10},
            ["tumour" if number % 2 else "normal"],
        )
        for number in range(5)
    ]
    sheet = cards.sheet(made, {"error": "error", "probability": "probability"}, {"tumour": "tumour"}, page=2)
    found = seen(
        page("t", sheet, cards.STYLE, cards.SCRIPT),
        tmp_path,
        """
        var q = function (what) { return document.querySelector(what); }, result = {};
        var shown = function () {
          return Array.from(document.querySelectorAll(".card")).filter(function (e) { return e.offsetWidth; })
            .map(function (e) { return e.dataset.name.slice(6); }).join("");
        };
        var choose = function (name, value) {
          var box = q("[name=" + name + "]"); box.value = value; box.dispatchEvent(new Event("input"));
        };
        result.first = shown(); q(".pages button[value='1']").click(); result.second = shown();
        result.status = q(".status").textContent;
        choose("sort", "probability"); result.sorted = shown();
        choose("only", "tumour"); result.tumour = shown(); choose("only", "");
        choose("words", "_4"); result.named = shown(); choose("words", "");
        result.map = q(".map").offsetWidth > 0 && q(".plain").offsetWidth === 0;
        q("[name=view]").checked = true; q("[name=view]").dispatchEvent(new Event("input"));
        result.plain = q(".map").offsetWidth === 0 && q(".plain").offsetWidth > 0;
        q(".open").click();
        result.open = q("dialog").open && q("dialog p").textContent === q(".plain").alt;
        q("dialog button").click(); result.closed = !q("dialog").open;
        return result;
        """,
    )
    assert found.pop("status") == "5 of 5 slides, page 2 of 3"
    assert [found.pop(key) for key in ("first", "second", "sorted", "tumour", "named")] == ["43", "21", "01", "13", "4"]
    assert found == dict.fromkeys(["map", "plain", "open", "closed"], True)
