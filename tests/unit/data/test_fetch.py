"""Every file arrives right, or one clear line says why not: held against a real server that misbehaves."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_server import Fault, FaultServer, s3_etag

from chowder.data.download import client as module
from chowder.data.download import partial, transfer
from chowder.data.download.client import fetch
from chowder.files import UserError

SCRIPT = Path(__file__).resolve().parents[3] / "workflow" / "scripts" / "fetch.py"
CONTENT = random.Random(7).randbytes(3 * (1 << 20) + 12345)
MD5 = hashlib.md5(CONTENT).hexdigest()
FAST = {"retries": 3, "timeout_s": 2.0, "backoff_s": 0.01, "backoff_max_s": 0.05, "progress_s": 60}
KEY = "/images/tumor_091.tif"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with FaultServer({KEY: CONTENT}) as running:
        yield running


def arrives(server, tmp_path, *faults, md5=MD5, settings=FAST):
    """Fetch KEY under ``faults``; assert that it is right and that nothing is left beside it."""
    server.faults[KEY] = list(faults)
    target = tmp_path / "slides" / "tumor_091.tif"
    result = fetch(server.url(KEY), target, md5=md5, settings=settings)
    assert target.read_bytes() == server.files[KEY]
    assert sorted(path.name for path in target.parent.iterdir()) == ["tumor_091.tif"]
    return result


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_file_arrives_whole_in_one_request(server, tmp_path):
    result = arrives(server, tmp_path)
    assert (result.requests, result.transferred, result.size) == (1, len(CONTENT), len(CONTENT))
    assert s3_etag(CONTENT).strip('"') != MD5  # the server's tag is like S3's: no md5, and nobody takes it for one


def test_an_empty_file_arrives(server, tmp_path):
    server.files["/empty"] = b""
    fetch(server.url("/empty"), tmp_path / "empty", md5=hashlib.md5(b"").hexdigest(), settings=FAST)
    assert (tmp_path / "empty").read_bytes() == b""


@pytest.mark.parametrize("kind", ["drop", "truncate", "stall"])
def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path, kind):
    arrives(server, tmp_path, Fault(kind, after=1_500_000))
    second = server.log[1]
    assert len(server.log) == 2
    assert second.range == f"bytes={len(CONTENT) - second.sent}-" and second.status == 206
    assert second.if_range == s3_etag(CONTENT)
    if kind != "drop":  # a reset may destroy what was sent but not yet read
        assert second.sent == len(CONTENT) - 1_500_000


def test_a_crawl_is_given_up_like_a_stall(server, tmp_path):
    started = time.monotonic()
    arrives(server, tmp_path, Fault("drip"), settings={**FAST, "timeout_s": 0.3})
    assert time.monotonic() - started < 5 and len(server.log) == 2


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_a_busy_server_is_asked_again(server, tmp_path, status):
    assert arrives(server, tmp_path, Fault("status", status=status), Fault("status", status=status)).requests == 3


def test_a_connection_closed_without_an_answer_is_tried_again(server, tmp_path):
    assert arrives(server, tmp_path, Fault("hang_up")).requests == 2


def test_the_servers_wish_to_wait_is_heeded_up_to_the_limit(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    settings = {**FAST, "backoff_max_s": 20}
    arrives(server, tmp_path, Fault("status", status=503, headers={"Retry-After": "7"}), settings=settings)
    arrives(server, tmp_path / "b", Fault("status", status=503, headers={"Retry-After": "900"}), settings=settings)
    assert [wait for wait in waits if wait > 1] == [7, 20]


def test_waits_grow_and_differ(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(module.time, "sleep", lambda seconds: waits.append(seconds) if seconds >= 0.5 else None)
    server.always[KEY] = Fault("status", status=503)
    with pytest.raises(UserError, match="503"):
        fetch(server.url(KEY), tmp_path / "a", settings={**FAST, "retries": 6, "backoff_s": 1, "backoff_max_s": 8})
    assert len(waits) == 6 and len(server.log) == 7
    for wait, longest in zip(waits, [1, 2, 4, 8, 8, 8], strict=True):
        assert longest / 2 <= wait <= longest
    assert len({round(wait / longest, 6) for wait, longest in zip(waits, [1, 2, 4, 8, 8, 8], strict=True)}) > 3


def test_a_dead_server_ends_it_after_the_retries_with_one_line(server, tmp_path):
    server.always[KEY] = Fault("truncate", after=1000)
    with pytest.raises(UserError) as error:
        fetch(server.url(KEY), tmp_path / "a.tif", md5=MD5, settings=FAST)
    text = one_line(error)
    assert server.url(KEY) in text and "4 tries" in text and "a.tif.partial" in text
    assert len(server.log) == 4
    assert not (tmp_path / "a.tif").exists()
    assert (tmp_path / "a.tif.partial").read_bytes() == CONTENT[:4000]
    server.always.clear()
    result = fetch(server.url(KEY), tmp_path / "a.tif", md5=MD5, settings=FAST)
    assert result.transferred == len(CONTENT) - 4000


def test_a_long_file_gets_more_tries_than_retries_while_it_advances(server, tmp_path):
    faults = [Fault("truncate", after=(1 << 20) + 1)] * 3
    assert arrives(server, tmp_path, *faults, settings={**FAST, "retries": 1}).requests == 4


def test_nobody_listening_is_one_line(tmp_path):
    with FaultServer() as gone:
        url = gone.url("/a")
    with pytest.raises(UserError, match="refuses the connection, after 4 tries"):
        fetch(url, tmp_path / "a", settings=FAST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [404, 403, 410])
def test_an_absent_file_fails_at_once_and_leaves_nothing(server, tmp_path, status):
    server.always[KEY] = Fault("status", status=status)
    with pytest.raises(UserError) as error:
        fetch(server.url(KEY), tmp_path / "a.tif", md5=MD5, settings=FAST)
    text = one_line(error)
    assert server.url(KEY) in text and str(status) in text and "check the base URL" in text
    assert len(server.log) == 1 and list(tmp_path.iterdir()) == []


def test_other_refusals_are_not_repeated(server, tmp_path):
    server.always[KEY] = Fault("status", status=405)
    with pytest.raises(UserError, match="405"):
        fetch(server.url(KEY), tmp_path / "a.tif", settings=FAST)
    assert len(server.log) == 1


def test_spellings_are_tried_in_order_until_one_is_there(server, tmp_path):
    urls = [server.url(path) for path in ("/images/Tumor_091.tif", "/training/tumor/tumor_091.tif", KEY)]
    result = fetch(urls, tmp_path / "a.tif", md5=MD5, settings=FAST)
    assert result.source == urls[2] and [request.status for request in server.log] == [404, 404, 200]
    with pytest.raises(UserError, match=r"images/Tumor_091.tif.*404.*1 other spelling"):
        fetch(urls[:2], tmp_path / "b.tif", md5=MD5, settings=FAST)


def test_an_absent_spelling_does_not_cost_the_part_of_another(server, tmp_path):
    server.always[KEY] = Fault("truncate", after=1000)
    urls = [server.url("/images/Tumor_091.tif"), server.url(KEY)]
    with pytest.raises(UserError):
        fetch(urls, tmp_path / "a.tif", settings=FAST)
    server.always.clear()
    assert fetch(urls, tmp_path / "a.tif", settings=FAST).transferred == len(CONTENT) - 4000
    assert (tmp_path / "a.tif").read_bytes() == CONTENT


def test_wrong_bytes_once_are_deleted_and_fetched_again(server, tmp_path, capsys):
    assert arrives(server, tmp_path, Fault("wrong")).requests == 2
    assert "deleted, fetching it once more" in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_wrong_bytes_twice_stop_it_with_both_sums_named(server, tmp_path, algorithm):
    server.always[KEY] = Fault("wrong")
    expected = hashlib.new(algorithm, CONTENT).hexdigest()
    received = hashlib.new(algorithm, bytes(byte ^ 255 for byte in CONTENT)).hexdigest()
    with pytest.raises(UserError) as error:
        fetch(server.url(KEY), tmp_path / "a.tif", settings=FAST, **{algorithm: expected})
    text = one_line(error)
    assert expected in text and received in text and server.url(KEY) in text
    assert len(server.log) == 2 and list(tmp_path.iterdir()) == []


def test_a_login_page_in_place_of_the_file_is_called_one(server, tmp_path):
    server.files[KEY] = b"  <!DOCTYPE html><title>Sign in</title>"
    with pytest.raises(UserError, match="it is a web page"):
        fetch(server.url(KEY), tmp_path / "a.tif", md5=MD5, settings=FAST)


def test_the_kept_part_is_hashed_too(server, tmp_path):
    """A part with a flipped byte is continued, found out by the md5, and the file fetched whole."""
    damaged = bytearray(CONTENT[:500_000])
    damaged[1000] ^= 1
    (tmp_path / "a.tif.partial").write_bytes(damaged)
    fetch(server.url(KEY), tmp_path / "a.tif", md5=MD5, settings=FAST)
    assert (tmp_path / "a.tif").read_bytes() == CONTENT
    assert [request.range for request in server.log] == ["bytes=500000-", None]


def test_a_server_without_ranges_starts_from_the_beginning(server, tmp_path):
    arrives(server, tmp_path, Fault("truncate", after=1_000_000), Fault("ignore_range"))
    assert [request.status for request in server.log] == [200, 200]


@pytest.mark.parametrize("etags", [True, False])
@pytest.mark.parametrize("md5", [True, False])
def test_two_versions_of_a_file_are_never_joined(server, tmp_path, etags, md5):
    """The file changes between two tries. Guard: If-Range with the tag; without tags, the length."""
    server.etags = etags
    new = random.Random(8).randbytes(len(CONTENT) + 1000)
    sum_ = hashlib.md5(new).hexdigest() if md5 else None
    arrives(server, tmp_path, Fault("truncate", after=1_000_000), Fault("content", content=new), md5=sum_)


def test_an_answer_with_another_range_than_asked_is_not_appended(server, tmp_path):
    arrives(server, tmp_path, Fault("truncate", after=1_000_000), Fault("misplaced"), md5=None)


def test_a_server_that_sends_less_than_the_rest_is_asked_for_more(server, tmp_path):
    faults = [Fault("truncate", after=1_000_000), Fault("capped", after=1_500_000)]
    assert arrives(server, tmp_path, *faults, md5=None).requests == 3


def test_a_part_of_unknown_origin_is_continued_only_when_a_checksum_will_judge_it(server, tmp_path):
    (tmp_path / "a.tif.partial").write_bytes(b"x" * 1000)
    fetch(server.url(KEY), tmp_path / "a.tif", settings=FAST)
    assert (tmp_path / "a.tif").read_bytes() == CONTENT and server.log[0].range is None


def test_a_part_that_is_already_whole_costs_no_transfer(server, tmp_path):
    (tmp_path / "a.tif.partial").write_bytes(CONTENT)
    result = fetch(server.url(KEY), tmp_path / "a.tif", md5=MD5, settings=FAST)
    assert result.transferred == 0 and server.sent(KEY) == 0 and server.log[0].status == 416
    assert (tmp_path / "a.tif").read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / "a.tif.partial").write_bytes(CONTENT + b"more")
    note = {"url": server.url(KEY), "etag": s3_etag(CONTENT), "length": len(CONTENT)}
    (tmp_path / "a.tif.partial.json").write_text(json.dumps(note))
    fetch(server.url(KEY), tmp_path / "a.tif", settings=FAST)
    assert (tmp_path / "a.tif").read_bytes() == CONTENT
    assert [request.status for request in server.log] == [416, 200]


def test_a_file_that_is_here_and_right_is_not_fetched(server, tmp_path):
    (tmp_path / "a.tif").write_bytes(CONTENT)
    assert fetch(server.url(KEY), tmp_path / "a.tif", md5=MD5.upper(), settings=FAST).requests == 0
    assert server.log == []
    (tmp_path / "a.tif").write_bytes(b"stale")
    fetch(server.url(KEY), tmp_path / "a.tif", md5=MD5, settings=FAST)
    assert (tmp_path / "a.tif").read_bytes() == CONTENT


def test_bodies_of_unknown_length_are_taken_only_when_their_end_is_certain(server, tmp_path):
    arrives(server, tmp_path / "a", Fault("chunked"), md5=None)
    arrives(server, tmp_path / "b", Fault("chunked", after=1_000_000), md5=None)
    arrives(server, tmp_path / "c", Fault("no_length"))
    arrives(server, tmp_path / "d", Fault("no_length", after=1_000_000))
    server.faults[KEY] = [Fault("no_length", after=1_000_000)]
    with pytest.raises(UserError, match="neither a length nor a checksum"):
        fetch(server.url(KEY), tmp_path / "e", settings=FAST)


def test_a_compressed_answer_is_refused(server, tmp_path):
    server.always[KEY] = Fault("encoded")
    with pytest.raises(UserError, match="compressed"):
        fetch(server.url(KEY), tmp_path / "a", settings=FAST)


def test_redirects_are_followed_and_circles_are_not(server, tmp_path):
    server.always["/old"] = Fault("redirect", to=server.url(KEY))
    server.files["/old"] = server.files["/round"] = b""
    server.always["/round"] = Fault("redirect", to=server.url("/round"))
    fetch(server.url("/old"), tmp_path / "a", md5=MD5, settings=FAST)
    assert (tmp_path / "a").read_bytes() == CONTENT
    with pytest.raises(UserError, match="in a circle"):
        fetch(server.url("/round"), tmp_path / "b", settings=FAST)


def test_a_redirect_from_https_to_http_is_refused(tmp_path):
    class Answer:
        def __init__(self, url, history=()):
            self.url, self.history, self.status_code = url, list(history), 200

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            pass

    class Session:
        def get(self, url, **kwargs):
            return Answer("http://plain.example/a", [Answer(url)])

    with (
        pytest.raises(UserError, match="plain http"),
        transfer._answer(Session(), "https://x.example/a", {}, transfer.Settings()),
    ):
        pass


def test_an_untrusted_certificate_is_not_retried(tmp_path):
    """A TLS server with a certificate that nobody signed: refused at once."""
    import ssl

    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("openssl makes the certificate for this test")
    pem = tmp_path / "cert.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(pem), "-out", str(tmp_path / "c.pem"), "-subj", "/CN=127.0.0.1", "-days", "2"]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", pem)
    server = FaultServer({KEY: CONTENT})
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with server:
        url = server.url(KEY).replace("http:", "https:")
        with pytest.raises(UserError, match="certificate is not trusted"):
            fetch(url, tmp_path / "a.tif", md5=MD5, settings=FAST)
    assert server.log == [] and not (tmp_path / "a.tif").exists()


def test_a_full_disk_is_told_before_the_transfer(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError) as error:
        fetch(server.url(KEY), tmp_path / "a.tif", md5=MD5, settings=FAST)
    assert partial.human(len(CONTENT) - 1_000_000) + " are missing" in one_line(error)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.tif.partial").write_bytes(CONTENT[: len(CONTENT) - 900_000])  # the rest fits
    fetch(server.url(KEY), tmp_path / "a.tif", md5=MD5, settings=FAST)


def test_the_disk_check_counts_what_other_transfers_still_need(server, tmp_path, monkeypatch):
    free = len(CONTENT) + 500_000
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, free))
    (tmp_path / "b.tif.partial").write_bytes(b"x" * 1000)
    (tmp_path / "b.tif.partial.json").write_text(json.dumps({"length": 1_001_000}))
    with pytest.raises(UserError, match="500 kB are missing"):
        fetch(server.url(KEY), tmp_path / "a.tif", settings=FAST)
    os.utime(tmp_path / "b.tif.partial", (1, 1))  # left by a run long ago: claims nothing
    fetch(server.url(KEY), tmp_path / "a.tif", settings=FAST)


def test_a_disk_that_fills_up_on_the_way_is_one_line_and_keeps_the_part(server, tmp_path, monkeypatch):
    real, calls = partial.Part.append, []

    def append(self, chunk):
        calls.append(len(chunk))
        if sum(calls) > 1_000_000:
            raise OSError(28, "No space left on device")
        real(self, chunk)

    monkeypatch.setattr(partial.Part, "append", append)
    with pytest.raises(UserError, match="the disk is full"):
        fetch(server.url(KEY), tmp_path / "a.tif", md5=MD5, settings=FAST)
    assert 0 < (tmp_path / "a.tif.partial").stat().st_size < 1_000_000


def test_two_processes_do_not_write_one_file(server, tmp_path):
    meter = partial.Meter("a.tif", 60)
    with partial.Part(tmp_path / "a.tif", [], meter), pytest.raises(UserError, match="another process is fetching it"):
        fetch(server.url(KEY), tmp_path / "a.tif", settings=FAST)
    fetch(server.url(KEY), tmp_path / "a.tif", md5=MD5, settings=FAST)


def test_progress_tells_bytes_rate_and_time_left(server, tmp_path, capsys):
    arrives(server, tmp_path, Fault("slow", rate=6e6), settings={**FAST, "progress_s": 0.1})
    line = next(line for line in capsys.readouterr().err.splitlines() if " of 3.16 MB" in line)
    assert line.startswith("tumor_091.tif: ") and "MB/s" in line and line.endswith("s left")


@pytest.mark.parametrize("form", ["path", "url", "user's"])
def test_a_local_file_is_linked_not_copied(tmp_path, form, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    source = tmp_path / "my mirror" / "a.tif"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    text = {"path": str(source), "url": source.as_uri(), "user's": "~/my mirror/a.tif"}[form]
    result = fetch(text, tmp_path / "out" / "a.tif", md5=MD5, settings=FAST)
    assert (tmp_path / "out" / "a.tif").is_symlink() and (tmp_path / "out" / "a.tif").samefile(source)
    assert result.transferred == 0 and len(list((tmp_path / "out").iterdir())) == 1
    assert fetch(text, tmp_path / "out" / "a.tif", settings=FAST).size == len(CONTENT)  # again: the link is replaced


@pytest.mark.parametrize("how", ["hardlink", "copy"])
def test_a_local_file_can_be_hard_linked_or_copied(tmp_path, how):
    (tmp_path / "a.tif").write_bytes(CONTENT)
    fetch(tmp_path / "a.tif", tmp_path / "out" / "a.tif", md5=MD5, settings={**FAST, "local": how})
    out = tmp_path / "out" / "a.tif"
    assert not out.is_symlink() and out.samefile(tmp_path / "a.tif") == (how == "hardlink")
    assert out.read_bytes() == CONTENT


def test_a_wrong_local_file_is_left_alone_and_not_linked(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"wrong")
    with pytest.raises(UserError) as error:
        fetch(tmp_path / "a.tif", tmp_path / "out" / "a.tif", md5=MD5, settings=FAST)
    assert MD5 in one_line(error) and hashlib.md5(b"wrong").hexdigest() in str(error.value)
    assert (tmp_path / "a.tif").exists() and list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("s3://camelyon-dataset/CAMELYON16/images/normal_001.tif", r"s3:// is not read.*https://<bucket>"),
        ("ftp://mirror.example/a", "https mirror"),
        ("file://otherhost/a", "names the host 'otherhost'"),
        ("/nowhere/a.tif", "no such file"),
        ("/", "is not a file"),
        ("http://", "no usable URL"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line(tmp_path, source, says):
    with pytest.raises(UserError, match=says) as error:
        fetch(source, tmp_path / "a", settings=FAST)
    one_line(error)


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(UserError, match="not a hexadecimal md5"):
        fetch("/x", tmp_path / "a", md5="abc")
    with pytest.raises(UserError, match="is a folder"):
        fetch("/x", tmp_path)
    with pytest.raises(UserError, match="no URL"):
        fetch([], tmp_path / "a")
    with pytest.raises(UserError, match="local: 'move'"):
        fetch("/x", tmp_path / "a", settings={"local": "move"})


def test_passwords_and_signatures_stay_out_of_the_log(server, tmp_path, capsys):
    url = server.url("/secret.tif?Signature=hidden").replace("http://", "http://me:pass@")
    with pytest.raises(UserError) as error:
        fetch(url, tmp_path / "a", settings=FAST)
    assert "404" in one_line(error)
    for secret in ("hidden", "me:", "pass"):
        assert secret not in str(error.value) + capsys.readouterr().err


def script(*arguments, **kwargs):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **kwargs)


def test_the_script_survives_kill_9_and_transfers_only_the_rest(server, tmp_path):
    server.faults[KEY] = [Fault("slow", rate=3e6)]
    (tmp_path / "checksums.md5").write_text(f"{'0' * 32} *images/normal_001.tif\n{MD5} *images/tumor_091.tif\n")
    target, part = tmp_path / "tumor_091.tif", tmp_path / "tumor_091.tif.partial"
    arguments = ["--base", server.url(), "--slide", "tumor_091", "--output", target]
    arguments += ["--md5-list", tmp_path / "checksums.md5", "--settings", json.dumps(FAST)]
    running = subprocess.Popen([sys.executable, str(SCRIPT), *map(str, arguments)], stderr=subprocess.PIPE)
    for _ in range(1000):
        if part.exists() and part.stat().st_size > 500_000:
            break
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    running.stderr.close()
    have = part.stat().st_size
    assert 500_000 < have < len(CONTENT) and not target.exists()
    server.log.clear()
    again = script(*arguments)
    assert again.returncode == 0, again.stderr
    assert target.read_bytes() == CONTENT and not part.exists()
    assert server.sent(KEY) == len(CONTENT) - have
    assert "md5 verified" in again.stderr


def test_the_script_says_in_one_line_what_is_wrong(server, tmp_path):
    (tmp_path / "checksums.md5").write_text(f"{'0' * 32} *images/tumor_091.tif\n")
    arguments = ["--url", server.url(KEY), "--output", tmp_path / "a.tif", "--settings", json.dumps(FAST)]
    wrong = script(*arguments, "--key", "images/Tumor_091.tif", "--md5-list", tmp_path / "checksums.md5")
    assert wrong.returncode == 1 and wrong.stderr.count("error: ") == 1 and "Traceback" not in wrong.stderr
    assert MD5 in wrong.stderr and "0" * 32 in wrong.stderr
    unknown = script(*arguments, "--key", "images/tumor_092.tif", "--md5-list", tmp_path / "checksums.md5")
    assert unknown.returncode == 1 and "no sum for images/tumor_092.tif" in unknown.stderr
    fine = script(*arguments, "--sha256", hashlib.sha256(CONTENT).hexdigest())
    assert fine.returncode == 0 and (tmp_path / "a.tif").read_bytes() == CONTENT
