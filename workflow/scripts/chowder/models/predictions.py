"""Files of a trained method: its predictions and its training curve."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from chowder.files import UserError, reason, write_text
from chowder.models.names import UNDERTRAINED_ADVICE


def write_predictions(
    path: str | Path,
    slides: Sequence[str],
    labels: Sequence[int],
    members: np.ndarray,
    averaged: Sequence[int] | None = None,
) -> None:
    """Write predictions as CSV: slide, label, probability, member_1 .. member_E.

    ``members`` (n, E): probability of each member. ``averaged``: indices of the members whose mean is the probability,
    default all.
    """
    averaged = slice(None) if averaged is None else averaged
    lines = [",".join(["slide", "label", "probability", *(f"member_{m + 1}" for m in range(members.shape[1]))])]
    for slide, label, row in zip(slides, labels, np.asarray(members, dtype=np.float64), strict=True):
        lines.append(",".join([slide, str(label), f"{row[averaged].mean():.8g}", *(f"{value:.8g}" for value in row)]))
    write_text(path, "\n".join(lines) + "\n")


def read_predictions(path: str | Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Slides, labels (n,) and member probabilities (n, E) of a predictions CSV."""
    with _reading(path) as rows:
        columns = [key for key in rows[0] if key.startswith("member_")]
        labels = np.array([int(row["label"]) for row in rows])
        return [row["slide"] for row in rows], labels, np.array([[float(row[c]) for c in columns] for row in rows])


def read_probabilities(path: str | Path) -> dict[str, tuple[int, float]]:
    """Label and probability (the mean over the members, as written) by slide of a predictions CSV."""
    found: dict[str, tuple[int, float]] = {}
    with _reading(path) as rows:
        absent = [key for key in ("slide", "label", "probability") if key not in rows[0]]
        if absent:
            raise UserError(f"{path}: no column '{absent[0]}': train the method again")
        for line, row in enumerate(rows, start=2):
            for key, fine in (("label", row["label"] in ("0", "1")), ("probability", _is_number(row["probability"]))):
                if not fine:
                    raise UserError(f"{path}, line {line}: {key} is '{row[key]}': train the method again")
            if row["slide"] in found:
                raise UserError(f"{path}, line {line}: slide {row['slide']} is there twice: train the method again")
            found[row["slide"]] = (int(row["label"]), float(row["probability"]))
    return found


def count_members(path: str | Path) -> int:
    """Return the number of networks behind a predictions CSV: its columns member_1, member_2, ..., at least 1."""
    with _reading(path) as rows:
        return max(1, sum(key.startswith("member_") for key in rows[0]))


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except (TypeError, ValueError):
        return False


@contextlib.contextmanager
def _reading(path: str | Path) -> Iterator[list[dict[str, str]]]:
    """Rows of a predictions CSV; what goes wrong inside becomes one line that names the file."""
    import csv

    try:
        with Path(path).open(newline="", encoding="utf-8") as handle:
            yield list(csv.DictReader(handle))
    except FileNotFoundError:
        raise UserError(f"{path}: no such predictions file: train the method first") from None
    except (IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError, OSError, csv.Error) as error:
        raise UserError(
            f"{path}: not a predictions file ({type(error).__name__}: {reason(error)}): train the method again"
        ) from None


def write_curve(path: str | Path, history: np.ndarray, undertrained: Sequence[int] = ()) -> None:
    """Write training losses (epochs, E) as CSV: epoch, member, loss, undertrained. A baseline has the header only.

    ``undertrained``: indices of the members that stayed on the plateau (1 in the last column).
    """
    stayed = set(np.asarray(undertrained, dtype=int).tolist())
    lines = ["epoch,member,loss,undertrained"]
    for epoch, losses in enumerate(np.asarray(history), start=1):
        lines += [f"{epoch},{m + 1},{loss:.8g},{int(m in stayed)}" for m, loss in enumerate(losses)]
    write_text(path, "\n".join(lines) + "\n")


def log_losses(name: str, history: np.ndarray, lines: int = 10) -> list[str]:
    """Lines for a log: mean loss of the members and its range, at about ``lines`` epochs from first to last."""
    epochs = len(history)
    shown = sorted({round(i * (epochs - 1) / max(lines - 1, 1)) for i in range(lines)}) if epochs else []
    return [
        f"{name}: epoch {e + 1}/{epochs} loss {history[e].mean():.4f} ({history[e].min():.4f}-{history[e].max():.4f})"
        for e in shown
    ]


def log_undertrained(name: str, members: int, undertrained: Sequence[int]) -> list[str]:
    """Return the log's warning about members (indices) that learnt nothing; no line when all learnt something."""
    if not len(undertrained):
        return []
    which = ", ".join(str(member + 1) for member in undertrained)
    text = f"warning: {name}: {len(undertrained)} of {members} members stayed on the plateau (member {which}): "
    return [text + UNDERTRAINED_ADVICE]
