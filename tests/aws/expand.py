#!/usr/bin/env python3
"""Expands the SAM template to plain CloudFormation, offline: what cfn-lint, checkov and the local AWS read.

cfn-lint since 1.54 does not run the SAM transform and passes anything inside it, so the gates read the expansion.
`expand.py [template.yaml] > out.json`
"""
import json
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TEMPLATE = ROOT / "infra" / "template.yaml"
PLACE = "s3://not-uploaded/not-uploaded"


def read(path=TEMPLATE):
    """The template as written, short forms of intrinsic functions made long."""
    return read_text(pathlib.Path(path).read_text(encoding="utf-8"))


def read_text(text):
    """The same of a text."""
    from samtranslator.yaml_helper import yaml_parse

    # Through JSON: YAML aliases become copies, which the translator may change one by one.
    return json.loads(json.dumps(yaml_parse(text)))


def earlier():
    """`(commit, template)` as it was before its newest change; None where the history at hand does not go back so far."""
    import subprocess

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    try:
        for commit in git("log", "--format=%h", "-n", "20", "--", "infra/template.yaml").split():
            if (text := git("show", f"{commit}:infra/template.yaml")) != TEMPLATE.read_text(encoding="utf-8"):
                return commit, read_text(text)
    except (OSError, subprocess.CalledProcessError):
        pass  # no git, or no history
    return None


def functions(template):
    """Logical name -> properties of every function of the template as written."""
    return {n: r["Properties"] for n, r in template["Resources"].items() if r["Type"] == "AWS::Serverless::Function"}


def binary(properties):
    """The binary a function runs: the last part of its CodeUri."""
    return properties["CodeUri"].rstrip("/").rsplit("/", 1)[-1]


def expand(template, code=None):
    """Plain CloudFormation. `code` maps a local path (CodeUri, ContentUri) to an S3 address, as `sam package` does."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    import logging

    import boto3

    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    logging.getLogger("samtranslator.metrics").setLevel(logging.ERROR)  # it would say that it publishes nothing
    template = json.loads(json.dumps(template))
    for resource in template["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            local = resource.get("Properties", {}).get(key)
            if isinstance(local, str) and not local.startswith("s3://"):
                resource["Properties"][key] = (code or {}).get(local, PLACE)
    session = boto3.Session(region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")
    return Translator({}, Parser(), None, session).translate(template, {})


def connect(template, connections):
    """The expansion with what infra/DEPLOY.md, "Several accounts at one system", adds to a template for further connections,
    `{name: system}`: each has a secret and routes like its system's, and who may read that secret may read this one;
    documents of settlement lie in a folder of each connection."""
    resources = template["Resources"]
    for number, (name, system) in enumerate(sorted(connections.items())):
        known, secret = f"Secret{system.capitalize()}", f"Secret{system.capitalize()}{number}"
        resources[secret] = json.loads(json.dumps(resources[known]))
        resources[secret]["Properties"]["Name"] = {"Fn::Sub": "${Name}/${Environment}/" + name}
        first = f"${{{system.capitalize()}Connection}}"
        for logical, route in [(n, r) for n, r in resources.items() if r["Type"] == "AWS::ApiGatewayV2::Route"]:
            key = route["Properties"]["RouteKey"]
            if isinstance(key, dict) and first in key["Fn::Sub"]:
                route = resources[f"{logical}{number}"] = json.loads(json.dumps(route))
                route["Properties"]["RouteKey"] = route["Properties"]["RouteKey"]["Fn::Sub"].replace(first, name)
        asked, further = {"Fn::GetAtt": [known, "Id"]}, {"Fn::GetAtt": [secret, "Id"]}
        for role in (r["Properties"] for r in resources.values() if r["Type"] == "AWS::IAM::Role"):
            for statement in (s for p in role.get("Policies", []) for s in p["PolicyDocument"]["Statement"]):
                at = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
                folders = [{"Fn::Sub": a["Fn::Sub"].replace(first, name)} for a in at
                           if isinstance(a, dict) and isinstance(a.get("Fn::Sub"), str) and first in a["Fn::Sub"]]
                statement["Resource"] = [*at, *folders, *([further] if asked in at else [])]
    return template


if __name__ == "__main__":
    json.dump(expand(read(sys.argv[1] if len(sys.argv) > 1 else TEMPLATE)), sys.stdout, indent=1, default=str)
