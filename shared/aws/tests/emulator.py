#!/usr/bin/env python3
"""Runs ministack under a clock that a test can put forward, so that a five-minute window takes no five minutes.

    BIND_HOST=127.0.0.1 GATEWAY_PORT=4566 TILLWAY_TEST_AWS_CLOCK=/tmp/clock python3 shared/aws/tests/emulator.py
    TILLWAY_TEST_AWS=http://127.0.0.1:4566 TILLWAY_TEST_AWS_CLOCK=/tmp/clock cargo test -p tillway-aws

The file holds how many seconds the emulator's clock is ahead of the machine's; an empty one means none.
"""
import os
import sys
import time

path = os.environ.get("TILLWAY_TEST_AWS_CLOCK")
if not path:
    sys.exit("TILLWAY_TEST_AWS_CLOCK is not set: it names the file that holds the seconds to be ahead")
if os.environ.get("BIND_HOST") != "127.0.0.1":
    sys.exit("set BIND_HOST=127.0.0.1: the emulator runs what is uploaded to it, without asking who it is from")
open(path, "a").close()
machine = time.time


def ahead():
    with open(path) as file:
        return float(file.read() or 0)


time.time = lambda: machine() + ahead()
time.time_ns = lambda: int((machine() + ahead()) * 1_000_000_000)

from ministack.app import main  # noqa: E402: only now, so that it takes this clock

main()
