"""What smolkit gives to other libraries: spans for OpenTelemetry, a progress bar by rich."""

from __future__ import annotations

import io

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rich.console import Console

from smolkit import Smolvm, errors
from smolkit.commands import Exec
from smolkit.otel import spans
from smolkit.progress import bar
from smolkit.testing import FakeRunner
from tests.recorded import as_json


def test_spans(fake: FakeRunner) -> None:
    """One for each call, named after the verb, below the current one; no secret in any attribute."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    fake.answer(Exec, returncode=1, stderr=as_json("NOT_FOUND", "vm not found: m"))
    fake.answer(["machine"])
    client = Smolvm(runner=fake, on_call=spans(tracer))
    with tracer.start_as_current_span("outer"), pytest.raises(errors.MachineNotFoundError):
        client.machine("m", env={"K": "hidden"}).create()
        client.machine("m").exec(["true"], env={"K": "hidden"}, secrets={"S": "hidden"})

    found: tuple[ReadableSpan, ...] = exporter.get_finished_spans()
    assert ["smolvm machine create", "smolvm machine exec", "outer"] == [span.name for span in found]
    assert [True, True] == [span.parent is not None for span in found[:2]]
    attributes = [dict(span.attributes or {}) for span in found]
    assert (0, 1, "MachineNotFoundError") == (
        attributes[0]["process.exit.code"],
        attributes[1]["process.exit.code"],
        attributes[1]["error.type"],
    )
    assert "hidden" not in repr(attributes)


def test_a_progress_bar() -> None:
    """It shows how much has arrived of how much."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with bar("tests", console=console) as progress:
        progress(500_000, 1_000_000)
        progress(1_000_000, 1_000_000)

    assert isinstance(console.file, io.StringIO)
    assert "1.0/1.0 MB" in console.file.getvalue()
