#!/usr/bin/env python3
"""infra/DEPLOY.md, "First time" and "Rotate a secret", walked on the local AWS from an empty directory, with the commands that stand there.

    walk.py --binaries target/debug --tillway target/debug/tillway-under-test
    walk.py … --build tick        # and builds this function as step 2 says; needs cargo-lambda, takes minutes

Clones the repository into an empty folder and goes on with the clone's own copy of this file. What is walked is read from DEPLOY.md:
a command, step or section that is changed, new or gone there fails here. Every step is told as

    walked    the command ran, as it stands there (`cargo run --` and target/release/tillway are the command that was built before)
    static    checked here without doing it
    account   only a real account can show it
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import desk  # noqa: E402
import expand  # noqa: E402
import stack  # noqa: E402

ROOT = expand.ROOT
GIVEN = {"stripe api_key": "rk_canary\n", "shop client_id": "canary\ncanary\n", "stripe webhook_secret": "whsec_canary\n",
         "shop webhook_secret": f"{desk.OLD}\n"}
# The local API's own address is http, which the command refuses.
URL = "https://a1b2c3.execute-api.us-east-1.amazonaws.com"
STEPS = ("Configure", "Build", "Deploy", "Put the secrets", "Register the webhooks", "See that it lives")
# Who walks the other sections; None: there is nothing to walk.
SECTIONS = {
    "What you need": None, "First time": "walk.py", "Parameters": "gates.py, smoke.py", "Several accounts at one system": "tests/cloud",
    "Upgrade": "operations.py, tests/cloud",
    "Rollback": "operations.py, tests/cloud", "Rotate a secret": "walk.py", "Settlement": "tests/cloud", "Restore from a backup": "operations.py, desk.py",
    "Dead letters and parked items": "smoke.py, desk.py, tests/cloud", "Alarms": "gates.py", "What it costs": "cost.py",
    "Removing a stack": None, "What was seen, and what only an account can show": None,
}


def told(how, what):
    print(f"  {how:<9} {what}", flush=True)


def sections():
    """{title: text} of DEPLOY.md, which have to be those known here."""
    text = (ROOT / "infra" / "DEPLOY.md").read_text(encoding="utf-8")
    found = {part.split("\n")[0]: part for part in text.split("\n## ")[1:]}
    assert list(found) == list(SECTIONS), f"DEPLOY.md has {list(found)}"
    return found


def quoted(text, start):
    """The one command in backquotes that begins so."""
    found = [c for c in re.findall(r"`([^`]+)`", text) if c.startswith(start)]
    assert found, f"DEPLOY.md no longer says `{start} …`"
    return found[0]


class Walk:
    def __init__(self, exe, build):
        self.exe, self.build, self.said, self.environment = exe, build, "", {}
        self.sections = sections()
        first = self.sections["First time"]
        parts = re.split(r"\n(?=\d\. \*\*)", first)[1:]
        titles = tuple(re.match(r"\d\. \*\*(.+?)\.?\*\*", part)[1] for part in parts)
        assert titles == STEPS, f"DEPLOY.md has the steps {titles}"
        self.parts = dict(zip(titles, parts))
        lines = [line.strip().split("  #")[0].strip() for line in first.splitlines() if line.startswith("       ")]
        (self.alias,) = (line for line in lines if line.startswith("alias till="))
        self.lines = [line for line in lines if line and line != self.alias]

    def at(self, local, home):
        """Commands go to this stack from here on."""
        self.environment = {"AWS_ENDPOINT_URL": local.endpoint, "AWS_REGION": stack.REGION, "HOME": str(home), "USER": "tester",
                            "AWS_ACCESS_KEY_ID": stack.ACCOUNT, "AWS_SECRET_ACCESS_KEY": "none", "PATH": "/usr/local/bin:/usr/bin:/bin"}

    def shell(self, line, given="", environment=None, quiet=False):
        """A line as a person types it, in the root of the clone."""
        alias = self.alias.replace("target/release/tillway", str(self.exe))
        typed = line.replace("cargo run --", str(self.exe), 1)
        script = f"shopt -s expand_aliases\n{alias}\n{typed}\n"
        done = subprocess.run(["bash", "-c", script], input=given, text=True, capture_output=True, cwd=ROOT,
                              env=environment or self.environment, timeout=3600)
        self.said += done.stdout + done.stderr
        if done.returncode:
            raise AssertionError(f"{line}: {done.returncode}: {done.stdout}{done.stderr}")
        if not quiet:
            told("walked", line)
        return done.stdout

    # -- the steps -----------------------------------------------------------------------------------------------------
    def configure(self):
        part = self.parts["Configure"]
        self.shell(quoted(part, "cargo run -- check"))
        for name in ("prod", "qa"):
            self.shell(quoted(part, "cargo run -- check infra/config/tillway/prod.yaml").replace("prod", name))

    def compile(self):
        command = quoted(self.parts["Build"], "cargo lambda build")
        words = command.split()
        profile, package = (words[words.index(flag) + 1] for flag in ("--profile", "-p"))
        workspace = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
        functions = tomllib.loads((ROOT / "functions" / "Cargo.toml").read_text(encoding="utf-8"))
        assert profile in workspace["profile"] and functions["package"]["name"] == package, command
        wanted = {p["CodeUri"]: expand.binary(p) for p in expand.functions(expand.read()).values()}
        there = {b["name"] for b in functions["bin"]}
        assert there == set(wanted.values()), there ^ set(wanted.values())
        assert set(wanted) == {f"../target/lambda/{name}" for name in there}, set(wanted)
        if not self.build:
            told("static", f"{command}: profile, package and every function of the template are there; try it with --build")
            return
        command = f"{command} --bin {self.build}"
        self.shell(command, environment=dict(os.environ, CARGO_TARGET_DIR=str(ROOT / "target")))
        code = (ROOT / "target" / "lambda" / self.build / "bootstrap").read_bytes()
        assert code[:4] == b"\x7fELF" and code[18:20] == (183).to_bytes(2, "little"), "no program for arm64"
        told("static", f"{self.build}: a program for arm64 of {len(code):,} bytes, {len(stack.zip_of({'bootstrap': (code, 0o755)})):,} zipped")

    def deploy(self, local, binaries):
        named = tomllib.loads((ROOT / "infra" / "samconfig.toml").read_text(encoding="utf-8"))
        parameters = expand.read()["Parameters"]
        for environment in ("default", "qa", "prod"):
            asked = named[environment]["deploy"]["parameters"]
            assert (ROOT / "infra" / asked["template_file"]).is_file()
            given = dict(p.split("=", 1) for p in asked["parameter_overrides"])
            assert set(given) <= set(parameters), given
            config = given.get("ConfigPath", parameters["ConfigPath"]["Default"]).replace("/opt", str(ROOT / "infra" / "config"))
            assert pathlib.Path(config).is_file(), config
        told("static", f"{quoted(self.parts['Deploy'], 'sam deploy')}: samconfig.toml names parameters, template and configurations that are there")
        local.deploy(binaries, ConfigPath=str(ROOT / "infra" / "config" / "tillway" / "tillway.yaml"))
        told("walked", "the template by change set, as `sam deploy` does it (zips at level 1, the configuration beside the layer)")
        told("account", "what the SAM CLI asks and packages, the mail that SNS sends")

    def put(self):
        for line in self.lines:
            if line.startswith("cargo "):
                told("static", f"{line}: the same sources, built by cargo test")
                continue
            self.shell(line, next((v for k, v in GIVEN.items() if re.search(rf"secrets put {k}\b", line)), ""))
        key = ROOT / "master_key"
        assert "master_key" in self.parts["Put the secrets"].split("offline")[0]
        secret = key.read_text(encoding="utf-8").strip()
        key.unlink()
        told("walked", "the file master_key is taken away")
        return secret

    def register(self):
        part = self.parts["Register the webhooks"]
        quoted(part, "till webhooks register")
        told("static", "till webhooks register: needs the providers; against the sandboxes and this stack in tests/cloud")
        steps = self.shell(f"till webhooks steps --url {URL} --config infra/config/tillway/tillway.yaml")
        assert f"{URL}/webhooks/stripe/payments" in steps, steps
        for line in (quoted(part, "till secrets put stripe webhook_secret"), "till secrets put shop webhook_secret $on"):
            self.shell(line, next(v for k, v in GIVEN.items() if k in line))

    def lives(self, local):
        desk.hook(local, "orders", desk.sample("order.created", orderId="A-1"), desk.OLD)

        def decided():
            try:
                return "order.created (webhook" in self.shell("till explain A-1 $on", quiet=True)
            except AssertionError:
                return False

        local.until(decided, 60, "the order was not decided on")
        told("walked", "a signed webhook of the shop; till explain A-1 $on")
        told("account", "the provider's test event, the dashboard's drawing, the alarms")

    def rotate(self, local):
        part = self.sections["Rotate a secret"]
        for line in ("till secrets rotate stripe api_key $on", "till secrets retire stripe api_key $on"):
            self.shell(quoted(part, line), "rk_canary_second\n" if "rotate" in line else "")
        self.shell("till secrets rotate shop webhook_secret $on", f"{desk.NEW}\n")
        desk.hook(local, "orders", desk.sample("order.created", orderId="A-2"), desk.OLD)
        told("walked", "a webhook under the secret before is taken still")


def inside(given):
    walk = Walk(given.tillway, given.build)
    binaries = {expand.binary(p): given.binaries / expand.binary(p) for p in expand.functions(expand.read()).values()}
    with tempfile.TemporaryDirectory() as folder, stack.Stack(pathlib.Path(folder) / "aws") as local:
        walk.at(local, folder)
        secret = ""

        def put():
            nonlocal secret
            secret = walk.put()

        does = (walk.configure, walk.compile, lambda: walk.deploy(local, binaries), put, walk.register, lambda: walk.lives(local))
        for number, (title, do) in enumerate(zip(STEPS, does), 1):
            print(f"{number}. {title}", flush=True)
            do()
        print("Rotate a secret", flush=True)
        walk.rotate(local)
    shown = [c for c in (*desk.CANARIES, secret) if c in walk.said]
    assert secret and not shown, "a secret was shown"
    for title, by in SECTIONS.items():
        if by != "walk.py":
            print(f"{title}: {f'by {by}' if by else 'nothing to walk'}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("binaries", "tillway"):
        arguments.add_argument(f"--{name}", required=True, type=lambda p: pathlib.Path(p).resolve())
    arguments.add_argument("--build", metavar="FUNCTION", help="build this function as step 2 says")
    arguments.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.inside:
        inside(given)
        return
    with tempfile.TemporaryDirectory() as empty:
        subprocess.run(["git", "clone", "--quiet", ROOT, empty], check=True)
        print(f"cloned {ROOT} into an empty directory", flush=True)
        script = pathlib.Path(empty) / "tests" / "aws" / "walk.py"
        command = [sys.executable, script, "--inside", "--binaries", given.binaries, "--tillway", given.tillway]
        subprocess.run(command + (["--build", given.build] if given.build else []), check=True)
    print("the checklist was walked from an empty directory")


if __name__ == "__main__":
    main()
