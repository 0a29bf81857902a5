# SPDX-License-Identifier: Apache-2.0
"""``python -m app``: serve on ``ENGINE_HOST`` (0.0.0.0) and ``ENGINE_PORT`` (8080) until SIGTERM or SIGINT.

``--version`` prints the version. ``--health`` asks the running server whether it is ready, and exits with 0 or 1: a
container's healthcheck, for images with no shell.
"""

import os
import signal
import sys
import urllib.error
import urllib.request

from app import __version__


def _healthy(port: int) -> bool:
    # No proxy of the environment is to be asked for a loopback address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/readyz", timeout=3) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def main(arguments: list[str]) -> int:
    """Do what the command line says and return the exit code."""
    port = int(os.environ.get("ENGINE_PORT", "8080"))
    match arguments:
        case ["--version"]:
            print(f"statistics-engine {__version__}")
            return 0
        case ["--health"]:
            return 0 if _healthy(port) else 1
        case []:
            import uvicorn

            from app.server import make_app

            # Once it has shut down, uvicorn raises the signal again for the handler that was there before it; this one
            # turns that into a clean exit.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
            host = os.environ.get("ENGINE_HOST", "0.0.0.0")  # noqa: S104 - a container's port is published by its runner
            uvicorn.run(make_app(), host=host, port=port, log_level="info", timeout_graceful_shutdown=10)
            return 0
    print("usage: python -m app [--version | --health]", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
