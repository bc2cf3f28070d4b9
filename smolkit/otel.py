"""OpenTelemetry: a span for each call of the engine. Needs `pip install 'smolkit[otel]'`.

    client = Smolvm(on_call=spans())

A span is named after the engine's subcommand (`smolvm machine exec`), starts and ends when the call did, and is a child of
the span that is current where the call was made. Its attributes are the redacted command line, the exit status and the type
of an error. They contain no secrets, no output and no values of variables.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from smolkit.extras import missing
from smolkit.values.shown import shell_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Tracer

    from smolkit.commands.call import Call


def spans(tracer: Tracer | None = None) -> Callable[[Call], None]:
    """Return a function for `Smolvm(on_call=...)` that records a span for each call.

    Args:
        tracer: The tracer that makes the spans. Default: the global provider's tracer named smolkit.

    Raises:
        ModuleNotFoundError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.trace import StatusCode
    except ModuleNotFoundError as error:
        raise missing("smolkit.otel.spans", "otel", error) from error

    used = trace.get_tracer("smolkit") if tracer is None else tracer

    def record(call: Call) -> None:
        ended = time.time_ns()
        span = used.start_span(f"smolvm {call.verb}", start_time=ended - int(call.duration * 1e9))
        span.set_attribute("process.command_line", shell_line(("smolvm", *call.argv)))
        if call.returncode is not None:
            span.set_attribute("process.exit.code", call.returncode)
        if call.error is not None:
            span.set_attribute("error.type", type(call.error).__name__)
            span.set_status(StatusCode.ERROR)
        span.end(ended)

    return record
