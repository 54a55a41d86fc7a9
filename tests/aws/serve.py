#!/usr/bin/env python3
"""The local AWS with the stack on it, for a test in another language: one JSON line in, one out.

    serve.py --binaries target/debug --config /tmp/x/tillway.yaml --secrets secrets.json --folder /tmp/x/aws

`secrets.json` is {"tillway": {"master_key": …}, "stripe": {…}, "shop": {…}}. The first line out says where everything
is; then it answers until its input ends, and takes the local AWS down. Questions, each {"do": …} and what else it needs:

    invoke function [event]     -> {"error": …, "answer": …}
    kill function               -> waits until one of its environments runs, and kills it
    end                         -> ends every environment of every function
    impatient queue visibility receives
    secret connection values    -> a rotated secret
    deploy [parameters] [earlier] [functions]
                                -> deploys again, e.g. {"Paused": "yes"}; `earlier`: the template before its newest change, and the functions
                                   of this folder where they are there; what is deployed after that is the newest again
    schedules state                -> ENABLED or DISABLED, all of them
    logs stage | metrics | invocations | starts | stages | code | calls | processes function

`--clock FILE`: eight bytes, by how many nanoseconds the whole stack's time is ahead (clock.c). `--connections FILE`: further ones
as {"name": "system"}.
"""
import argparse
import json
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import expand  # noqa: E402
import stack  # noqa: E402


class Server:
    """One question, one answer."""

    def __init__(self, local, binaries, parameters):
        self.stack, self.binaries, self.parameters = local, binaries, parameters

    def invoke(self, function, event=None):
        error, answer = self.stack.invoke(function, event)
        return {"error": error, "answer": answer}

    def kill(self, function):
        self.stack.kill(function)

    def impatient(self, queue, visibility, receives):
        self.stack.impatient(queue, visibility, receives)

    def secret(self, connection, values):
        self.stack.put_secret(connection, values)

    def deploy(self, parameters=None, earlier=False, functions=None):
        known = expand.earlier() if earlier else None
        commit, self.stack.written = known or ("the newest", expand.read())
        binaries = {n: pathlib.Path(functions) / n if earlier and functions else b for n, b in self.binaries.items()}
        self.stack.deploy(binaries, **{**self.parameters, **(parameters or {})})
        return {**self.where(), "version": f"the template of {commit}"}

    def code(self):
        return self.stack.code()

    def schedules(self, state):
        self.stack.schedules(state)

    def logs(self, stage):
        return self.stack.logs(stage)

    def metrics(self):
        return self.stack.metrics()

    def invocations(self):
        return self.stack.invocations()

    def end(self):
        self.stack.end()

    def starts(self):
        return self.stack.starts()

    def stages(self):
        return self.stack.stages()

    def calls(self):
        return self.stack.calls()

    def processes(self, function):
        return self.stack.processes(function)

    def where(self):
        """Addresses, names and the credentials of the account's root on the local AWS."""
        return {"url": self.stack.url, "endpoint": f"http://127.0.0.1:{self.stack.port}", "region": stack.REGION,
                "access_key": stack.ACCOUNT, "secret_key": "none", "prefix": self.stack.prefix,
                "secrets": self.stack.secrets, "calls": str(self.stack.record), "outputs": self.stack.outputs,
                "shim": str(self.stack.folder / "clock.so") if self.stack.clock else ""}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("binaries", "config", "secrets", "folder"):
        arguments.add_argument(f"--{name}", required=True, type=pathlib.Path)
    arguments.add_argument("--clock", type=lambda p: pathlib.Path(p).resolve())
    arguments.add_argument("--connections", type=pathlib.Path)
    arguments.add_argument("--parameter", action="append", default=[], help="Name=value of the template")
    given = arguments.parse_args()
    names = {expand.binary(p) for p in expand.functions(expand.read()).values()}
    missing = [n for n in sorted(names) if not (given.binaries / n).is_file()]
    if missing:
        sys.exit(f"{given.binaries} has no {', '.join(missing)}; build them: cargo build -p tillway-functions")
    parameters = {"ConfigPath": str(given.config.resolve())} | dict(p.split("=", 1) for p in given.parameter)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    connections = json.loads(given.connections.read_text(encoding="utf-8")) if given.connections else {}
    with stack.Stack(given.folder.resolve(), clock=given.clock, connections=connections) as local:
        server = Server(local, {n: given.binaries / n for n in names}, parameters)
        first = server.deploy()
        for connection, values in json.loads(given.secrets.read_text(encoding="utf-8")).items():
            local.put_secret(connection, values)
        print(json.dumps(first), flush=True)
        for line in sys.stdin:
            try:
                asked = json.loads(line)
                answer = {"ok": getattr(server, asked.pop("do"))(**asked)}
            except Exception as error:  # told to who asked, who decides
                answer = {"failed": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
