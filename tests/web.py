"""A server of a folder on 127.0.0.1, which knows ranges unless told not to, and counts."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args, server_of, **kwargs):
        self.web = server_of
        super().__init__(*args, **kwargs)

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = self.path.partition("?")[0]
        begin, end = self._range()
        file = self.web.folder / path.lstrip("/")
        self.web.requests.append((path, begin))
        if not file.is_file() or begin is None:
            self.web.bytes += file.stat().st_size if file.is_file() else 0
            self.path = path
            super().do_GET()
            return
        data = file.read_bytes()
        if begin >= len(data):
            self.send_error(416)
            return
        part = data[begin : end + 1]
        self.web.bytes += len(part)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{begin + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def _range(self):
        text = self.headers.get("Range", "")
        if not (self.web.ranges and text.startswith("bytes=")):
            return None, None
        begin, _, end = text.removeprefix("bytes=").partition("-")
        return int(begin), int(end or 1 << 60)

    def end_headers(self):
        if self.web.ranges and self.command in ("GET", "HEAD"):
            self.send_header("Accept-Ranges", "bytes")
        super().end_headers()


class Web:
    """The server, while it is used as a context."""

    def __init__(self, folder, ranges=True):
        self.folder, self.ranges, self.requests, self.bytes = folder, ranges, [], 0

    def __enter__(self):
        handler = partial(_Handler, directory=str(self.folder), server_of=self)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def url(self, path=""):
        return f"http://127.0.0.1:{self._server.server_address[1]}/{path}"
