#!/usr/bin/env python3
"""infra/DEPLOY.md, "First time", walked on the local AWS from an empty directory, with the commands that stand there.

    walk.py --binaries target/debug --tillway target/debug/tillway-under-test

Clones the repository into an empty folder and goes on with the clone's own copy of this file. Commands are read from DEPLOY.md, so one
that is renamed there or here fails. Built before, as tests/run does it: the functions, and the command with `aws`.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import desk  # noqa: E402
import expand  # noqa: E402
import stack  # noqa: E402

GIVEN = {"stripe api_key": "rk_canary\n", "shop client_id": "canary\ncanary\n", "stripe webhook_secret": "whsec_canary\n",
         "shop webhook_secret": f"{desk.OLD}\n"}
ONLY_AN_ACCOUNT = ("cargo lambda build (no linker for arm64 here; the same sources are built natively)", "sam deploy (by change set, as it does)",
                   "confirming the mail of SNS", "webhooks register (against the sandboxes: tests/e2e)", "the dashboard's drawing")


def commands():
    """The lines of code of "First time", and what `till` and `$on` stand for."""
    text = (expand.ROOT / "infra" / "DEPLOY.md").read_text(encoding="utf-8")
    first = text.split("## First time")[1].split("\n## ")[0]
    lines = [line.strip().split("  #")[0].strip() for line in first.splitlines() if line.startswith("       ")]
    (alias,) = (line for line in lines if line.startswith("alias till="))
    return [line for line in lines if line and line != alias], alias


class Walk:
    def __init__(self, local, exe, folder):
        self.exe, self.folder, self.said = exe, folder, ""
        self.environment = {"AWS_ENDPOINT_URL": local.endpoint, "AWS_REGION": stack.REGION, "HOME": str(folder), "USER": "tester",
                            "AWS_ACCESS_KEY_ID": stack.ACCOUNT, "AWS_SECRET_ACCESS_KEY": "none", "PATH": "/usr/local/bin:/usr/bin:/bin"}
        self.lines, alias = commands()
        self.alias = alias.replace("target/release/tillway", str(exe))

    def shell(self, line, given=""):
        """A line as a person types it, in the root of the clone."""
        script = f"shopt -s expand_aliases\n{self.alias}\n{line}\n"
        done = subprocess.run(["bash", "-c", script], input=given, text=True, capture_output=True, cwd=expand.ROOT, env=self.environment, timeout=120)
        self.said += done.stdout + done.stderr
        if done.returncode:
            raise AssertionError(f"{line}: {done.returncode}: {done.stdout}{done.stderr}")
        print(f"walked   {line}", flush=True)
        return done.stdout


def inside(given):
    binaries = {expand.binary(p): given.binaries / expand.binary(p) for p in expand.functions(expand.read()).values()}
    config = expand.ROOT / "infra" / "config" / "tillway"
    subprocess.run([given.tillway, "check", config], check=True, stdout=subprocess.DEVNULL)
    print("walked   tillway check infra/config/tillway", flush=True)
    with tempfile.TemporaryDirectory() as folder, stack.Stack(pathlib.Path(folder) / "aws") as local:
        local.deploy(binaries, ConfigPath=str(config / "tillway.yaml"))
        print("walked   the template, by change set", flush=True)
        walk = Walk(local, given.tillway, pathlib.Path(folder))
        for line in walk.lines:
            if line.startswith("cargo "):
                continue
            key = next((v for k, v in GIVEN.items() if re.search(rf"secrets put {k}\b", line)), "")
            walk.shell(line, key)
        for key in ("stripe webhook_secret", "shop webhook_secret"):
            walk.shell(f"till secrets put {key} $on", GIVEN[key])
        # The command takes no address but one as an account has it; the local one is http.
        url = "https://a1b2c3.execute-api.us-east-1.amazonaws.com"
        steps = walk.shell(f"till webhooks steps --url {url} --config infra/config/tillway/tillway.yaml")
        assert f"{url}/webhooks/stripe/payments" in steps, steps
        listed = walk.shell("till secrets list $on")
        assert "master_key" in listed and "AWSCURRENT" in listed, listed
        desk.hook(local, "orders", desk.sample("order.created", orderId="A-1"), desk.OLD)

        def lives():
            try:
                return "order.created (webhook" in walk.shell("till explain A-1 $on")
            except AssertionError:
                return False

        local.until(lives, 60, "the order was not decided on")
        key = (expand.ROOT / "master_key").read_text(encoding="utf-8").strip()
        shown = [c for c in (*desk.CANARIES, key) if c in walk.said]
        assert not shown, "a secret was shown"
    for what in ONLY_AN_ACCOUNT:
        print(f"not here {what}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("binaries", "tillway"):
        arguments.add_argument(f"--{name}", required=True, type=lambda p: pathlib.Path(p).resolve())
    arguments.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.inside:
        inside(given)
        return
    with tempfile.TemporaryDirectory() as empty:
        subprocess.run(["git", "clone", "--quiet", expand.ROOT, empty], check=True)
        script = pathlib.Path(empty) / "tests" / "aws" / "walk.py"
        subprocess.run([sys.executable, script, "--inside", "--binaries", given.binaries, "--tillway", given.tillway], check=True)
    print("the checklist was walked from an empty directory")


if __name__ == "__main__":
    main()
