"""A pytest run inside a test. It has smolkit's plugin and the plugins that are asked for, none of the outer run's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run_pytest(
    folder: Path, *options: str, plugins: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run pytest in a directory with smolkit's plugin and the given ones. Return its exit status and output."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs"]
    command += [f"-p{plugin}" for plugin in ("smolkit.pytest_plugin", *plugins)]
    done = subprocess.run(
        [*command, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**ENVIRONMENT, **(env or {})},
    )
    return done.returncode, done.stdout + done.stderr
