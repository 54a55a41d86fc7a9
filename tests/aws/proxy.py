"""A small proxy between the functions and the local AWS that writes down each call.

One JSON line a call: t, function (from the user agent's `app/NAME`, which AWS_SDK_UA_APP_ID sets), call, actions
([action, resource] each), items, in, out (bytes), write and read (units of DynamoDB), status, ms,
and what was said where it failed. What is forwarded is byte for byte what came in, so signatures hold.
"""
import http.client
import http.server
import json
import re
import threading
import time

import calls
import units

APP = re.compile(r"\bapp/(\S+)")
HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"}


class Proxy:
    """Listens on a free loopback port until `close`."""

    def __init__(self, upstream_port, record_to, place=None):
        self.upstream, self.place, self.lock = upstream_port, place or calls.Place(), threading.Lock()
        self.units = units.Units()
        self.file = open(record_to, "w", encoding="utf-8")
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def setup(self):
                super().setup()
                self.there = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=120)

            def finish(self):
                self.there.close()
                super().finish()

            def forward(self):
                began = time.time()
                body = self.take_body()
                status, headers, answer = self.ask(body)
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in HOP | {"transfer-encoding", "content-length"}:
                        self.send_header(name, value)
                bodiless = self.command == "HEAD" or status in (204, 304)
                length = dict((n.lower(), v) for n, v in headers).get("content-length", "0") if bodiless else str(len(answer))
                self.send_header("Content-Length", length)
                self.end_headers()
                if not bodiless:
                    self.wfile.write(answer)
                proxy.note(self, body, answer, status, began)

            def take_body(self):
                if "chunked" in self.headers.get("transfer-encoding", "").lower():
                    parts = []
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        parts.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    return b"".join(parts)
                return self.rfile.read(int(self.headers.get("content-length", 0)))

            def ask(self, body):
                for attempt in (1, 2):
                    try:
                        self.there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                        for name, value in self.headers.items():
                            if name.lower() not in HOP | {"transfer-encoding", "content-length", "expect"}:
                                self.there.putheader(name, value)
                        self.there.putheader("Content-Length", str(len(body)))
                        # Policies ask for TLS, and the local AWS believes whoever stands before it.
                        self.there.putheader("X-Forwarded-Proto", "https")
                        self.there.endheaders(body)
                        response = self.there.getresponse()
                        return response.status, response.getheaders(), response.read()
                    except (http.client.RemoteDisconnected, http.client.BadStatusLine, ConnectionError):
                        # The kept connection had been closed; nothing of this request was answered.
                        self.there.close()
                        if attempt == 2:
                            return 502, [], b"local AWS does not answer"

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = forward

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass  # a function that was ended in the middle of its call

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True, name="proxy").start()

    def note(self, request, body, answer, status, began):
        """Writes a call down; what no function of ours sent is not written."""
        app = APP.search(request.headers.get("user-agent", "") + " " + request.headers.get("x-amz-user-agent", ""))
        if not app:
            return
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            read = calls.read(request.command, request.path, headers, body, self.place)
        except (ValueError, KeyError) as fault:
            read = (f"unreadable: {fault!r}", [], 0)
        operation, actions, items = read or (f"{request.command} {request.path}", [], 0)
        write, read = 0, 0
        if operation.startswith("dynamodb:"):
            write, read = self.units.of(operation.split(":")[1], json.loads(body), json.loads(answer or b"{}"), status == 200)
        line = {"t": round(began, 4), "function": app[1], "call": operation, "actions": actions, "items": items,
                "in": len(body), "out": len(answer), "write": write, "read": read, "status": status, "ms": round((time.time() - began) * 1000, 2)}
        if status >= 400:
            line["said"] = answer[:500].decode(errors="replace")
        with self.lock:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()

    def close(self):
        """Stops listening."""
        self.server.shutdown()
        self.server.server_close()
        with self.lock:
            self.file.close()
