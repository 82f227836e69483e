"""A real HTTP server on loopback that misbehaves on request, for the tests of fetching.

    with FaultServer({"/a.tif": content}) as server:
        server.faults["/a.tif"] = [Fault("drop", after=1000), Fault("status", status=503)]
        fetch(server.url("/a.tif"), ...)
        server.log  # one Request a request: path, range asked for, status, body bytes sent

Faults are used up one a request, in order; after them the path is served well. ``FaultServer(root=folder)`` serves a
folder, as a mirror would. By hand: ``python tests/unit/fault_server.py FOLDER PORT``.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PIECE = 64 * 1024
LONGEST_STALL = 20.0  # a stalled connection is given up by the server, so that no test hangs


@dataclass
class Fault:
    """What goes wrong with one request.

    ``kind``: status (answers ``status``), drop (reset after ``after`` bytes), truncate (orderly end after ``after``
    bytes of the promised length), stall (silence after ``after`` bytes), drip (one byte every 0.05 s), slow (``rate``
    bytes/s), wrong (bytes flipped), ignore_range (200 and the whole file), chunked, no_length, redirect (to ``to``),
    content (from now on the path holds ``content``, served at once), hang_up (closed without an answer), encoded,
    misplaced (206 for as many bytes as asked for, from 7 bytes before), capped (206 for ``after`` bytes of the rest),
    mislabelled (206 whose Content-Range is 7 bytes off), other_total (206 of a file one byte longer),
    other_tag (another ETag on the same content).
    """

    kind: str
    after: int = 0
    status: int = 503
    rate: float = 1e6
    to: str = ""
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    path: str
    range: str | None
    if_range: str | None
    if_match: str | None = None
    status: int = 0
    sent: int = 0


class FaultServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, files: Mapping[str, bytes] | None = None, root: Path | None = None, port: int = 0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.files = dict(files or {})
        self.root = root
        self.faults: dict[str, list[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.log: list[Request] = []  # of GET
        self.heads: list[str] = []
        self.tells_sizes = True
        self.etags = True
        self.ranges = True
        self.modified = ""  # Last-Modified of every file, none when empty
        self.closing = threading.Event()

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exc) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def sent(self, path: str) -> int:
        """Body bytes put on the wire for ``path`` in requests that were answered with its content."""
        return sum(request.sent for request in self.log if request.path == path)

    def content(self, path: str) -> bytes | None:
        if path in self.files:
            return self.files[path]
        if self.root is not None and ".." not in path:
            with contextlib.suppress(OSError):
                return (self.root / path.lstrip("/")).read_bytes()
        return None

    def handle_error(self, request, client_address) -> None:
        """A client that was killed is part of the tests: no traceback."""


def s3_etag(content: bytes) -> str:
    """Like that of a multipart upload: not the content's md5."""
    return f'"{hashlib.md5(hashlib.md5(content).digest()).hexdigest()}-2"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultServer

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        path = self.path.partition("?")[0]
        content = self.server.content(path)
        self.server.heads.append(path)
        self.send_response(200 if content is not None and self.server.tells_sizes else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        entry = Request(path, self.headers.get("Range"), self.headers.get("If-Range"), self.headers.get("If-Match"))
        self.server.log.append(entry)
        waiting = self.server.faults.get(path)
        fault = waiting.pop(0) if waiting else self.server.always.get(path, Fault("none"))
        if fault.kind == "hang_up":
            self.close_connection = True
            return
        if fault.kind == "content":
            self.server.files[path] = fault.content
        content = self.server.content(path)
        if fault.kind == "status" or content is None:
            return self._plain(entry, fault.status if fault.kind == "status" else 404, fault.headers)
        if fault.kind == "redirect":
            return self._plain(entry, 302, {"Location": fault.to})
        self._send(entry, content, fault)

    def _plain(self, entry: Request, status: int, headers: dict[str, str]) -> None:
        body = b"<Error>not the file</Error>"
        entry.status = status
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def _send(self, entry: Request, content: bytes, fault: Fault) -> None:
        tag, total, start = s3_etag(content), len(content), 0
        if fault.kind == "other_tag":
            tag = '"other"'
        elif self.server.etags and entry.if_match not in (None, tag):
            return self._plain(entry, 412, {})
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", entry.range or "")
        partial = bool(match) and entry.if_range in (None, tag) and self.server.ranges
        partial = partial and fault.kind not in ("ignore_range", "chunked", "no_length")
        end = total
        if partial:
            start = int(match[1])
            end = min(total, int(match[2]) + 1) if match[2] else total
            if start >= total:
                return self._plain(entry, 416, {"Content-Range": f"bytes */{total}"})
            partial = start > 0 or bool(match[2])
        entry.status = 206 if partial else 200
        shift = 7 if start and fault.kind == "misplaced" else 0
        start, end = start - shift, end - shift
        if partial and fault.kind == "capped":
            end = min(end, start + fault.after)
        self.send_response(entry.status)
        if partial:
            off = 7 if fault.kind == "mislabelled" else 0
            length = total + 1 if fault.kind == "other_total" else total
            self.send_header("Content-Range", f"bytes {start + off}-{end - 1 + off}/{length}")
        if self.server.modified:
            self.send_header("Last-Modified", self.server.modified)
        if self.server.etags:
            self.send_header("ETag", tag)
        if fault.kind == "encoded":
            self.send_header("Content-Encoding", "gzip")
        if fault.kind == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif fault.kind == "no_length":
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(end - start))
        self.end_headers()
        body = memoryview(bytes(byte ^ 255 for byte in content) if fault.kind == "wrong" else content)[start:end]
        cut = fault.kind in ("drop", "truncate", "stall") or (fault.kind in ("chunked", "no_length") and fault.after)
        self._pour(entry, body[: fault.after] if cut else body, fault)
        if fault.kind == "stall":
            self.server.closing.wait(LONGEST_STALL)
        if fault.kind == "chunked" and not cut:
            self.wfile.write(b"0\r\n\r\n")
        if cut:
            self.close_connection = True
        if fault.kind == "drop":  # closing with linger 0 sends a reset instead of an orderly end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _pour(self, entry: Request, body: memoryview, fault: Fault) -> None:
        piece = {"drip": 1, "slow": 16 * 1024}.get(fault.kind, PIECE)
        pause = {"drip": 0.05, "slow": piece / fault.rate}.get(fault.kind, 0.0)
        for at in range(0, len(body), piece):
            part = body[at : at + piece]
            if fault.kind == "chunked":
                self.wfile.write(f"{len(part):x}\r\n".encode())
            self.wfile.write(part)
            if fault.kind == "chunked":
                self.wfile.write(b"\r\n")
            entry.sent += len(part)
            if pause:
                if self.server.closing.is_set():
                    return
                time.sleep(pause)


if __name__ == "__main__":
    with FaultServer(root=Path(sys.argv[1]), port=int(sys.argv[2])) as server:
        print(server.url(), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
