"""The public modules as attributes of smolkit, as a user's type checker sees them: checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_type

import smolkit


def public_modules(keep: smolkit.Keep, options: smolkit.options.StartOptions) -> None:
    """Check that each module is known after `import smolkit` alone."""
    assert_type(smolkit.testing.FakeSmolvm(), smolkit.testing.FakeSmolvm)
    assert_type(smolkit.otel.spans(), Callable[[smolkit.Call], None])
    assert_type(smolkit.commands.Start("agent").name, str)
    assert_type(smolkit.values.Secret("x"), smolkit.Secret)
    with smolkit.progress.bar("tests") as update:
        assert_type(update, Callable[[int, int | None], None])
    client = smolkit.aio.AsyncSmolvm(runner=smolkit.testing.FakeSmolvm())
    assert_type(client.machine("agent", keep=keep), smolkit.AsyncMachine)
    try:
        smolkit.Smolvm().machine("agent").start(**options)
    except smolkit.errors.StartError as error:
        assert_type(error, smolkit.errors.StartError)
