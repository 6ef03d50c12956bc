"""
Run the sample chat: ``python3 sample_chat/run.py [--port 8000]``.

It needs Python 3.11 and pip, and installs everything else into ``.venv-chat``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

CHAT = Path(__file__).resolve().parent
sys.path.insert(0, str(CHAT.parent / ".ci"))

from environment import Environment  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the sample chat.")
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port

    environment = Environment(".venv-chat", "--editable", f"{CHAT.parent}[rest]")
    environment.prepare()

    manage = str(CHAT / "manage.py")
    environment.run(manage, "migrate", "--verbosity", "0")
    environment.run(manage, "demo")
    print(
        f"Open http://127.0.0.1:{port} in two windows; press Ctrl+C to stop.",
        flush=True,
    )
    serve = [manage, "runserver", "--noreload", f"127.0.0.1:{port}"]
    os.execv(environment.python, [environment.python, *serve])


if __name__ == "__main__":
    main()
