"""
Put the library under real faults and count what arrives.

``python -m benchmarks.faults sentinel``, ``network``, ``cluster`` or ``soak``, in an
environment with the requirements of the tests; or ``nox -s faults``, which runs them
all. It ends with 1 if a page has lost a message silently, shown it twice or late.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from benchmarks.faults import cluster, network, sentinel, soak  # noqa: E402
from tests.support.replay_backends import RedisServer  # noqa: E402
from tests.support.servers import Valkey  # noqa: E402

SCENARIOS = {
    "sentinel": sentinel.run,
    "network": network.run,
    "cluster": cluster.run,
    "soak": soak.run,
}


def main() -> int:
    options = _options()
    server = RedisServer if options.redis == "redis" else Valkey
    directory = Path(tempfile.mkdtemp(prefix="turbo-faults-"))
    print(f"{options.scenario} on {options.redis}, layer {options.layer}", end=", ")
    print(f"seed {options.seed}, files in {directory}", flush=True)
    run = SCENARIOS[options.scenario]
    work = run(directory, server, options.layer, options.seed, options.seconds)
    site = asyncio.run(work)
    for seconds, gaps, used in site.samples:
        memory = " ".join(f"{size / 2**20:6.1f}" for size in used)
        print(f"{seconds:5} s  {gaps:6} gaps  {memory} MiB")
    print(*site.result.notes[:40], site.result, sep="\n")
    if not site.result.violations:
        shutil.rmtree(directory)
    return bool(site.result.violations)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--redis", choices=["valkey", "redis"], default="valkey")
    parser.add_argument("--layer", choices=["redis", "pubsub"], default="redis")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
