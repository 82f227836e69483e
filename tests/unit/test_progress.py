"""Progress in a log: few lines, each with count, rate and time left."""

import re

from chowder import progress


def test_a_log_gets_lines_with_count_rate_and_time_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Progress(100, "tiles", "embedding", interval=10) as bar:
        for _ in range(10):
            now[0] += 4
            bar.update(10)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4, "every 12 s (the first update past 10 s), and the last"
    assert lines[0] == "embedding: 30/100 tiles, 2.5 tiles/s, 12.0 s, 28 s left"
    assert lines[-1] == "embedding: 100/100 tiles, 2.5 tiles/s, 40.0 s"


def test_the_last_line_comes_also_when_work_is_cut_short(capsys):
    try:
        with progress.Progress(5, "slides", "reading") as bar:
            bar.update(2)
            raise RuntimeError
    except RuntimeError:
        pass
    assert re.match(r"reading: 2/5 slides, ", capsys.readouterr().err)


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress.Progress(3, "slides", "reading") as bar:
        bar.update(3)
    assert "reading" in capsys.readouterr().err
