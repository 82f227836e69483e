"""The pages in a real browser: what sorts, hides and stays in view. Skipped where chromium is not installed."""

import contextlib
import html as escapes
import json
import shutil
import subprocess
import time
import urllib.request

import pytest
from test_table import demo

from chowder.report.overview import cards
from chowder.report.table import html
from chowder.report.table.page import page

CHROMIUM = shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed (apt-get install chromium)")


def title(path, width, seconds=180):
    """Return what the page's script leaves in its title as JSON, by the real clock: pictures load as on a screen.

    The browser's list of open pages is asked for it, since ``--dump-dom`` either does not wait for a script or runs on
    a virtual clock that does not wait for pictures.
    """
    profile = path.parent / "profile"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},700"]
    command += ["--remote-debugging-port=0", path.as_uri()]
    found = ""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            end = time.monotonic() + seconds
            while not found.startswith("{") and browser.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
                with contextlib.suppress(OSError, ValueError, IndexError):
                    port = int((profile / "DevToolsActivePort").read_text().split()[0])
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
                        pages = [page for page in json.load(answer) if page["type"] == "page"]
                    found = escapes.unescape(pages[0]["title"])
        finally:
            browser.kill()
    assert found.startswith("{"), f"{path}: no answer from the page in {seconds} s; its title is {found!r}"
    return json.loads(found)


def seen(page, folder, script, width=1000):
    """What ``script`` (the body of a function, which may await) returns in the page, in a window of that width."""
    path = folder / "page.html"
    ask = f"<script>(async function () {{{script}}})().catch((e) => ({{ error: String(e) }}))"
    ask += ".then((found) => { document.title = JSON.stringify(found); });</script></body>"
    path.write_text(page.replace("</body>", ask))
    return title(path, width)


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
