"""A Lambda Runtime API on loopback for one subject at a time: starts its process, hands it invocations, takes the times.

A time is from before the process is started to its first `next` (init), or from the writing of an invocation to the last byte
of its response. One thread and blocking sockets: nothing else of this process runs meanwhile.
"""
import json
import os
import selectors
import socket
import subprocess
import tempfile
import time


class Failed(Exception):
    """The subject ended, or said that it failed."""


class Subject:
    """A process under measurement. `environment` is all it gets; `command` is run in `folder`."""

    def __init__(self, command, environment, folder=None, patience=30):
        self.patience, self.kept, self.waiting, self.number = patience, {}, None, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        host = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.log = tempfile.TemporaryFile()
        environment = {**environment, "AWS_LAMBDA_RUNTIME_API": host}
        started = time.perf_counter_ns()
        self.process = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT)
        self.next()
        self.init = (self.at - started) / 1e6

    def request(self):
        """The next request of the subject: `(connection, method, path, body)`; its time is kept as `at`."""
        end = time.monotonic() + self.patience
        while True:
            for key, _ in self.selector.select(timeout=1):
                if key.fileobj is self.listener:
                    connection, _ = self.listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.selector.register(connection, selectors.EVENT_READ)
                    self.kept[connection] = b""
                    continue
                data = key.fileobj.recv(1 << 20)
                self.at = time.perf_counter_ns()
                if not data:
                    self.selector.unregister(key.fileobj)
                    del self.kept[key.fileobj]
                    key.fileobj.close()
                    continue
                self.kept[key.fileobj] += data
                if whole := self.parse(key.fileobj):
                    return whole
            if self.process.poll() is not None or time.monotonic() > end:
                raise Failed(f"no request; exit code {self.process.poll()}: {self.said()}")

    def parse(self, connection):
        head, mark, body = self.kept[connection].partition(b"\r\n\r\n")
        if not mark:
            return None
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in rest)}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            if not body.endswith(b"0\r\n\r\n"):
                return None
            whole, left = b"", body
            while left:
                size, _, left = left.partition(b"\r\n")
                whole, left = whole + left[:int(size, 16)], left[int(size, 16) + 2:]
            body = whole
        elif len(body) < int(headers.get("content-length", 0)):
            return None
        self.kept[connection] = b""
        method, path, _ = line.split(" ", 2)
        return connection, method, path, body

    def next(self):
        connection, method, path, body = self.request()
        if method != "GET" or not path.endswith("/invocation/next"):
            raise Failed(f"{method} {path}: {body[:500]!r}: {self.said()}")
        self.waiting = connection

    def invoke(self, event):
        """`(milliseconds, answer)` of an invocation."""
        self.number += 1
        name = f"00000000-0000-4000-8000-{self.number:012}"
        deadline = int(time.time() * 1000) + 60_000
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        head = (f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nlambda-runtime-aws-request-id: {name}\r\n"
                f"lambda-runtime-deadline-ms: {deadline}\r\nlambda-runtime-trace-id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0\r\n"
                "lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:000000000000:function:bench\r\n"
                f"content-length: {len(body)}\r\n\r\n")
        message = head.encode() + body
        started = time.perf_counter_ns()
        self.waiting.sendall(message)
        connection, method, path, answer = self.request()
        took = (self.at - started) / 1e6
        if method != "POST" or not path.endswith(f"/{name}/response"):
            raise Failed(f"{method} {path}: {answer[:500]!r}: {self.said()}")
        connection.sendall(b'HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"status":"OK"}')
        self.next()
        return took, json.loads(answer)

    def memory(self):
        """The most memory the process had resident so far, in MB (VmHWM)."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024

    def processor(self):
        """Milliseconds of processor time so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    def said(self):
        """The end of its log."""
        self.log.seek(0)
        return self.log.read()[-1500:].decode(errors="replace")

    def stop(self):
        self.process.kill()
        self.process.wait()
        for connection in self.kept:
            connection.close()
        self.listener.close()
        self.selector.close()
        self.log.close()
