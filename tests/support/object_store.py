"""An object store in memory that speaks as much of S3 as pyarrow needs to read and write files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase, BytesIO
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class Store(ThreadingHTTPServer):
    """Objects by bucket and key, how often each was written, and uploads that are not complete."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.writes: list[str] = []
        self.parts: dict[str, dict[int, bytes]] = {}

    def uri(self, path: str) -> str:
        """What pyarrow takes for a bucket and folder here."""
        place = f"endpoint_override=127.0.0.1:{self.server_port}&scheme=http&region=here"
        return f"s3://key:secret@{path}?{place}"


def _unchunked(file: BufferedIOBase) -> bytes:
    whole = b""
    while size := int(file.readline().split(b";")[0], 16):
        whole += file.read(size)
        file.readline()
    # What follows the last chunk: headers, and an empty line.
    while file.readline().strip():
        pass
    return whole


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _asked(self) -> tuple[str, dict[str, list[str]]]:
        url = urlsplit(self.path)
        return unquote(url.path).lstrip("/"), parse_qs(url.query, keep_blank_values=True)

    def _answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        """The body; it may be in chunks of HTTP, and these in chunks of S3 with a checksum."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = _unchunked(self.rfile)
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            data = _unchunked(BytesIO(data))
        return data

    def do_HEAD(self) -> None:
        key, _ = self._asked()
        content = self.server.objects.get(key)
        if content is None:
            self._answer(404)
        else:
            self._answer(200, Content_Length=str(len(content)), ETag='"x"')

    def do_GET(self) -> None:
        key, query = self._asked()
        if "list-type" in query:
            bucket = key.strip("/")
            prefix = query.get("prefix", [""])[0]
            listed = "".join(
                f"<Contents><Key>{escape(name.removeprefix(bucket + '/'))}</Key>"
                f"<Size>{len(content)}</Size></Contents>"
                for name, content in sorted(self.server.objects.items())
                if name.startswith(f"{bucket}/{prefix}")
            )
            text = (
                f"<ListBucketResult><KeyCount>{listed.count('<Key>')}</KeyCount>"
                f"<IsTruncated>false</IsTruncated>{listed}</ListBucketResult>"
            )
            self._answer(200, text.encode(), Content_Type="application/xml")
            return
        content = self.server.objects.get(key)
        if content is None:
            self._answer(404)
            return
        asked = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        first, last = int(asked[0] or 0), int(asked[2] or len(content) - 1)
        total = f"bytes {first}-{last}/{len(content)}"
        self._answer(206, content[first : last + 1], Content_Range=total, ETag='"x"')

    def do_PUT(self) -> None:
        key, query = self._asked()
        body = self._body()
        if "uploadId" in query:
            self.server.parts[key][int(query["partNumber"][0])] = body
        else:
            self._store(key, body)
        self._answer(200, ETag='"x"')

    def do_POST(self) -> None:
        key, query = self._asked()
        self._body()
        if "uploads" in query:
            self.server.parts[key] = {}
            text = "<InitiateMultipartUploadResult><UploadId>1</UploadId>"
            self._answer(200, f"{text}</InitiateMultipartUploadResult>".encode())
        elif "delete" in query:
            self._answer(200, b"<DeleteResult></DeleteResult>")
        else:
            parts = self.server.parts.pop(key)
            self._store(key, b"".join(parts[number] for number in sorted(parts)))
            text = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
            self._answer(200, text.encode())

    def do_DELETE(self) -> None:
        key, _ = self._asked()
        self.server.objects.pop(key, None)
        self._answer(204)

    def _store(self, key: str, content: bytes) -> None:
        self.server.objects[key] = content
        self.server.writes.append(key)


@contextmanager
def running() -> Iterator[Store]:
    """A store on a free port."""
    with Store() as store:
        thread = threading.Thread(target=store.serve_forever)
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join()
