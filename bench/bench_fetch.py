"""Download throughput over loopback: chowder.data.download.client (md5 in the same pass, fsync) beside plain curl, on
the same file.

    python bench/bench_fetch.py [--megabytes 300] [--repeats 7] [--output bench/fetch.csv]

The server is a process of its own that hands the file to the kernel (sendfile), so that it costs the clients little.
Rounds are interleaved, so that other work on the machine hits all alike; medians are reported, with the processor time
of the client (its children included). The last rows hold the server to lines of 1 and 2.4 Gbit/s.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve()
SCRIPTS = HERE.parents[1] / "workflow" / "scripts"
LINES = {"/1": 125e6, "/2.4": 300e6}  # bytes a second of a line of 1 and of 2.4 Gbit/s


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    path_on_disk = ""

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        with open(self.path_on_disk, "rb") as handle:
            size, sent, started = os.fstat(handle.fileno()).st_size, 0, time.monotonic()
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            while sent < size:
                sent += os.sendfile(self.connection.fileno(), handle.fileno(), sent, 1 << 20)
                if self.path in LINES:
                    time.sleep(max(0.0, sent / LINES[self.path] - (time.monotonic() - started)))


def serve(path: str) -> None:
    Handler.path_on_disk = path
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


def processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", help="also write the table here")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve)
    sys.path.insert(0, str(SCRIPTS))
    os.environ["NO_PROXY"] = "127.0.0.1"
    from chowder.data.download.client import fetch
    from chowder.data.download.transfer import Settings

    curl, folder = shutil.which("curl"), Path(tempfile.mkdtemp())
    big, out = folder / "big.bin", folder / "out.bin"
    hashed = hashlib.md5()
    with big.open("wb") as handle:
        for _ in range(args.megabytes):
            piece = os.urandom(1_000_000)
            hashed.update(piece)
            handle.write(piece)
    md5 = hashed.hexdigest()
    server = subprocess.Popen([sys.executable, str(HERE), "--serve", str(big)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}/big"
    quiet, null = Settings(progress_s=1e9), subprocess.DEVNULL

    def plain(address: str = url) -> None:
        subprocess.run([curl, "-s", "-o", str(out), address], check=True)

    def curl_then_md5sum() -> None:
        plain()
        subprocess.run(["md5sum", str(out)], check=True, stdout=null)

    runs = {
        "fetch, md5": lambda: fetch(url, out, md5=md5, settings=quiet),
        "fetch, no checksum": lambda: fetch(url, out, settings=quiet),
        "hashlib md5 alone, from memory": lambda: hashlib.md5(content),
    }
    for line in LINES:
        address = url.replace("/big", line)
        runs[f"fetch, md5, {line[1:]} Gbit/s"] = lambda address=address: fetch(address, out, md5=md5, settings=quiet)
        if curl:
            runs[f"curl, {line[1:]} Gbit/s"] = lambda address=address: plain(address)
    if curl:
        runs = {"curl": plain, "curl && md5sum": curl_then_md5sum, **runs}
    content = big.read_bytes()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    busy: dict[str, list[float]] = {name: [] for name in runs}
    try:
        runs["fetch, no checksum"]()  # imports, page cache
        for _ in range(args.repeats):
            for name, run in runs.items():
                out.unlink(missing_ok=True)
                before, started = processor_seconds(), time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
                busy[name].append(processor_seconds() - before)
    finally:
        server.terminate()
        shutil.rmtree(folder)
    rows = ["run,MB/s,seconds,client_cpu_seconds,of_curl"]
    for name in runs:
        wall = statistics.median(seconds[name])
        base = f"curl, {name.rpartition(', ')[2]}" if "Gbit" in name else "curl"
        of = f"{statistics.median(seconds[base]) / wall:.2f}" if base in seconds else ""
        rows.append(f'"{name}",{args.megabytes / wall:.0f},{wall:.3f},{statistics.median(busy[name]):.2f},{of}')
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    note = (
        f"# {args.megabytes} MB, {args.repeats} rounds, {os.cpu_count()} cores, load {load:.1f}, {platform.platform()}"
    )
    text = "\n".join([note, *rows]) + "\n"
    print(text, end="")
    if args.output:
        Path(args.output).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
