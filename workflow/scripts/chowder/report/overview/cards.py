"""Slides as cards on a page: sorted, filtered and paged in the browser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

STYLE = """
.sheet .tools{margin-top:.6rem}.sheet select,.sheet input[type=search]{font:inherit;padding:.1rem .3rem}
.cards{list-style:none;margin:0;padding:0;display:grid;gap:.8rem;
grid-template-columns:repeat(auto-fill,minmax(17rem,1fr))}
.cards.small{grid-template-columns:repeat(auto-fill,minmax(12.5rem,1fr))}
.card{border:1px solid var(--line);border-radius:6px;padding:.5rem;min-width:0;break-inside:avoid;
scroll-margin-top:4rem}.card[hidden]{display:none}
.card.wrong{border-left:5px solid #d55e00}.card:target{outline:3px solid var(--accent)}
.card h4{margin:.35rem 0 .1rem;font-size:1rem;overflow-wrap:anywhere}.card p{margin:.1rem 0;font-size:.88rem}
.card .open{all:unset;cursor:zoom-in;display:block;width:100%}.card .open:focus-visible{outline:3px solid var(--accent)}
.card img{display:block;width:100%;max-height:17rem;object-fit:contain;background:#f6f8fa}
.cards[data-view=slide] .map,.cards:not([data-view=slide]) .map+.plain{display:none}
.bar{display:inline-block;vertical-align:middle;width:6rem;height:.6em;background:#e3e6ea;border-radius:3px;
margin-left:.4em}.bar i{display:block;height:100%;background:#5f6670;border-radius:3px}.warn{color:#a33f00}
dialog{border:0;border-radius:6px;padding:1rem;max-width:96vw}dialog img{display:block;width:min(90vw,70rem);
max-height:78vh;object-fit:contain}dialog::backdrop{background:rgba(20,24,28,.7)}
.pages button,dialog button{font:inherit;padding:.1rem .6rem}
@media print{.cards{grid-template-columns:repeat(4,1fr);gap:6px}.cards.small{grid-template-columns:repeat(6,1fr)}
.card{padding:4px}.card img{max-height:110px}.card p,.card h4{font-size:9px;margin:1px 0}
.card[hidden]:not(.off){display:block}}
"""

SCRIPT = """
(function () {
  var dialog = document.createElement("dialog");
  dialog.innerHTML = '<form method="dialog"><button>Close</button></form><img alt=""><p></p>';
  document.body.appendChild(dialog);
  document.querySelectorAll(".sheet").forEach(function (sheet) {
    var list = sheet.querySelector(".cards"), cards = Array.from(list.children), page = 0;
    var size = Number(sheet.dataset.page), status = sheet.querySelector(".status");
    var find = function (name) { return sheet.querySelector("[name=" + name + "]"); };
    function number(card, key) { var text = card.dataset[key]; return text === "" ? NaN : Number(text); }
    function order(a, b) {
      var key = find("sort").value;
      if (key === "name") return a.dataset.name.localeCompare(b.dataset.name);
      var x = number(a, key), y = number(b, key);
      if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
      return y - x || a.dataset.name.localeCompare(b.dataset.name);
    }
    function show() {
      var kind = find("only").value, words = find("words").value.toLowerCase();
      cards.forEach(function (card) {
        var fits = (!kind || (" " + card.dataset.kinds + " ").indexOf(" " + kind + " ") >= 0) &&
          card.dataset.name.toLowerCase().indexOf(words) >= 0;
        card.classList.toggle("off", !fits);
      });
      var shown = cards.filter(function (card) { return !card.classList.contains("off"); }).sort(order);
      var pages = Math.max(1, Math.ceil(shown.length / size));
      page = Math.min(Math.max(page, 0), pages - 1);
      cards.forEach(function (card) { card.hidden = true; });
      shown.forEach(function (card, place) {
        list.appendChild(card);
        card.hidden = place < page * size || place >= (page + 1) * size;
      });
      status.textContent = shown.length + " of " + cards.length + " slides" +
        (pages > 1 ? ", page " + (page + 1) + " of " + pages : "");
      sheet.querySelector(".pages").hidden = pages < 2;
    }
    ["sort", "only", "words"].forEach(function (name) {
      find(name).addEventListener("input", function () { page = 0; show(); });
    });
    sheet.querySelectorAll(".pages button").forEach(function (button) {
      button.addEventListener("click", function () { page += Number(button.value); show(); });
    });
    var view = find("view");
    if (view) view.addEventListener("input", function () { list.dataset.view = view.checked ? "slide" : "map"; });
    list.addEventListener("click", function (event) {
      var button = event.target.closest(".open");
      if (!button) return;
      var shown = Array.from(button.querySelectorAll("img")).find(function (one) { return one.offsetWidth; });
      dialog.querySelector("img").src = shown.src;
      dialog.querySelector("img").alt = dialog.querySelector("p").textContent = shown.alt;
      dialog.showModal();
    });
    function reach() {
      var card = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
      if (!card || cards.indexOf(card) < 0) return;
      find("only").value = ""; find("words").value = "";
      page = Math.floor(cards.slice().sort(order).indexOf(card) / size);
      show();
      card.scrollIntoView();
    }
    show();
    addEventListener("hashchange", reach);
    reach();
  });
})();
"""


@dataclass(frozen=True)
class Card:
    """A slide on the page.

    Attributes
    ----------
    name : the slide; identity : the id that links point to.
    pictures : (data URL, words for those who do not see it); the first is shown, a second after a choice.
    lines : what is said of it, as HTML.
    numbers : what cards are sorted by, by key; NaN sorts last.
    kinds : words to filter by; "wrong" and "warning" also mark the card.
    """

    name: str
    identity: str
    pictures: Sequence[tuple[str, str]]
    lines: Sequence[str]
    numbers: dict[str, float]
    kinds: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = field(default_factory=tuple)


def sheet(
    cards: Sequence[Card], sorts: dict[str, str], kinds: dict[str, str], *, page: int, small: bool = False
) -> str:
    """Return cards with boxes to sort (``sorts``: key to words, the first at first) and filter (``kinds``) them.

    ``page``: cards per page. Without a script all cards are shown, in the order of the first sort. Printed are all
    that the filter leaves.
    """
    first = next(iter(sorts))
    ordered = sorted(cards, key=lambda card: (*_rank(card.numbers.get(first, math.nan)), card.name))
    options = "".join(f'<option value="{escape(key)}">{escape(words)}</option>' for key, words in sorts.items())
    filters = '<option value="">all</option>' + "".join(
        f'<option value="{escape(key)}">{escape(words)}</option>' for key, words in kinds.items()
    )
    two = any(len(card.pictures) > 1 for card in cards)
    view = '<label><input type="checkbox" name="view">slides without scores</label>' if two else ""
    return (
        f'<div class="sheet" data-page="{page}"><fieldset class="tools"><label>Sort by <select name="sort">{options}'
        f'<option value="name">name</option></select></label><label>Show <select name="only">{filters}</select></label>'
        f'<label>Name <input type="search" name="words" size="12"></label>{view}'
        '<span class="status" role="status"></span><span class="pages" hidden>'
        '<button type="button" value="-1">Previous</button> <button type="button" value="1">Next</button></span>'
        f'</fieldset><ul class="cards{" small" if small else ""}">{"".join(map(_card, ordered))}</ul></div>'
    )


def _rank(value: float) -> tuple[bool, float]:
    return math.isnan(value), 0.0 if math.isnan(value) else -value


def _card(card: Card) -> str:
    classes = ("map", "plain") if len(card.pictures) > 1 else ("",)
    pictures = "".join(
        f'<img class="{name}" loading="lazy" src="{source}" alt="{escape(words)}">'
        for name, (source, words) in zip(classes, card.pictures, strict=True)
    )
    numbers = "".join(
        f' data-{key}="{"" if math.isnan(value) else f"{value:.6g}"}"' for key, value in card.numbers.items()
    )
    links = " · ".join(f'<a href="{escape(target)}">{escape(words)}</a>' for target, words in card.links)
    lines = "".join(f"<p>{line}</p>" for line in [*card.lines, *([links] if links else [])])
    return (
        f'<li class="card{" wrong" if {"wrong", "warning"} & set(card.kinds) else ""}" id="{escape(card.identity)}" '
        f'data-name="{escape(card.name)}" data-kinds="{escape(" ".join(card.kinds))}"{numbers}>'
        f'<button type="button" class="open" aria-label="Enlarge {escape(card.name)}">{pictures}</button>'
        f"<h4>{escape(card.name)}</h4>{lines}</li>\n"
    )
