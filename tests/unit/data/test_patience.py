"""An outage is waited out, with growing waits, up to the patience of the config. No test here really waits."""

from __future__ import annotations

import os

import pytest
from fault_server import Fault, FaultServer

import fetch as program
from chowder.data.download import caller, patience
from chowder.data.download.client import fetch
from chowder.data.download.patience import Patience
from chowder.data.download.transfer import Again, Settings
from chowder.files import UserError

KEY = "/images/tumor_001.tif"
CONTENT = bytes(range(256)) * 12_000  # 3 MB


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now, self.waits = 0.0, []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


@pytest.fixture
def server():
    with FaultServer({KEY: CONTENT}) as server:
        yield server


def ends(settings: Settings, clock: Clock) -> tuple[str, float]:
    """The last line, and after how many seconds."""
    trial = Patience("http://h/a", "a", settings)
    with pytest.raises(UserError) as error:
        while True:
            trial.wait(Again("the server answers 503"))
    return str(error.value), clock.now


def test_an_hour_is_waited_out_with_growing_waits_and_one_line_each(clock, capsys):
    text, seconds = ends(Settings(patience_min=60), clock)
    assert 3600 <= seconds <= 3600 + Settings.backoff_max_s
    assert text.startswith("http://h/a: the server answers 503, after ") and " tries in 6" in text
    assert len(capsys.readouterr().err.splitlines()) == len(clock.waits) < 100
    longest = Settings.backoff_max_s
    for number, wait in enumerate(clock.waits):
        whole = min(Settings.backoff_s * 2**number, longest)
        assert whole / 2 <= wait <= whole


def test_retries_are_the_least_that_is_tried(clock):
    text, seconds = ends(Settings(patience_min=0, retries=3), clock)
    assert "after 4 tries;" in text and seconds < 10
    clock.waits.clear()
    ends(Settings(patience_min=0.01, retries=5), clock)
    assert len(clock.waits) == 5


def test_new_bytes_begin_the_patience_afresh(clock):
    trial = Patience("http://h/a", "a", Settings(patience_min=10, retries=0))
    for _ in range(3):
        while clock.now < 590:
            trial.wait(Again("reset"))
        trial.forget()
        clock.now = 0.0
        trial.since = 0.0
    assert trial.failures == 0


def test_five_minutes_of_503_cost_no_byte(server, tmp_path, clock):
    """The server is back when so much time has gone, as the clock of the client has it."""
    server.faults[KEY] = [Fault("truncate", after=1_200_000)]

    def busy() -> Fault:
        return Fault("status", status=503) if clock.now < 300 else Fault("none")

    class Always(dict):
        def get(self, path, default):
            return busy() if len(server.log) > 1 else default

    server.always = Always()
    done = fetch(server.url(KEY), tmp_path / "a.tif", settings={"patience_min": 60, "timeout_s": 5})
    assert (tmp_path / "a.tif").read_bytes() == CONTENT
    assert done.transferred == len(CONTENT) == server.sent(KEY)
    assert clock.now >= 300


def test_a_server_that_stays_away_ends_it_after_the_patience_and_what_came_is_kept(server, tmp_path, clock):
    server.faults[KEY] = [Fault("truncate", after=1_200_000)]
    server.always[KEY] = Fault("hang_up")
    with pytest.raises(UserError, match=r"tries in 3\d minutes; 1.2 MB are kept in a.tif.partial: check the network"):
        fetch(server.url(KEY), tmp_path / "a.tif", settings={"patience_min": 30, "timeout_s": 5})
    assert (tmp_path / "a.tif.partial").stat().st_size == 1_200_000


def test_a_fetch_that_failed_for_good_fails_at_once_when_the_same_run_starts_it_again(server, tmp_path):
    arguments = ["--url", server.url("/nothing"), "--output", str(tmp_path / "a.tif"), "--caller", str(os.getpid())]
    for _ in range(2):
        with pytest.raises(UserError, match="404"):
            program.main(arguments)
    assert len(server.log) == 1
    server.files["/nothing"] = CONTENT
    with pytest.raises(UserError, match="404"):
        program.main(arguments)
    program.main([*arguments[:-1], str(os.getppid())])  # the next run asks again
    assert (tmp_path / "a.tif").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_fetch_that_was_killed_goes_on_when_it_is_started_again(server, tmp_path):
    with pytest.raises(KeyboardInterrupt), caller.refused_once(tmp_path / "a.tif", 1):
        raise KeyboardInterrupt
    with caller.refused_once(tmp_path / "a.tif", 1):
        pass
