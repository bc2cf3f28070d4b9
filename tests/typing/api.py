"""The public types, as a user's type checker sees them: checked by mypy, never run."""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_type

from smolkit import (
    Check,
    Engine,
    ExecResult,
    FileStat,
    GuestPath,
    Machine,
    MachineInfo,
    Secret,
    Smolvm,
    SubprocessRunner,
)
from smolkit.calls import Plan
from smolkit.commands import Exec, Ls
from smolkit.observed import Stats
from smolkit.otel import spans
from smolkit.testing import FakeRunner

client = Smolvm()
assert_type(client.engine, Engine)
assert_type(client.ls(), list[MachineInfo])
assert_type(client.doctor(), list[Check])
assert_type(client.is_available(), bool)
assert_type(client.machine("agent", cpus=1, memory=512, ports=[8080, (8081, 80)], env={"A": "b"}), Machine)
client.machine(mem=512)  # type: ignore[call-arg]
client.machine(cpus="1")  # type: ignore[arg-type]

with client.machine() as m:
    assert_type(m, Machine)
    assert_type(m.exec(["true"], check=True, timeout=1.5, input="x"), ExecResult)
    assert_type(m.sh("a | b", env={"A": "b"}), ExecResult)
    assert_type(m.exec(["true"]).stdout, str)
    assert_type(m.path("/root") / "x", GuestPath)
    assert_type(m.status(), MachineInfo)
    assert_type(m.exists(), bool)
    m.cp(Path("x"), m.path("/x"))
    m.sh("x", chek=True)  # type: ignore[call-arg]
    for stream, chunk in m.popen(["true"]):
        assert_type((stream, chunk), tuple[str, bytes])
    for stream, line in m.popen(["true"], text=True, stdin=True, timeout=5):
        assert_type((stream, line), tuple[str, str])
    assert_type(m.spawn(["true"]).is_running(), bool)
    assert_type(m.read_text("/x"), str)
    assert_type(m.stat(m.path("/x")), FileStat)
    assert_type(m.stats(), Stats)
    assert_type(m.branch("twig", labels={"a": "b"}), Machine)
    m.update(cpus=2, allow_cidrs=["10.0.0.0/8"])
    m.update(cpu=2)  # type: ignore[call-arg]
    m.exec(["true"], secrets={"A": Secret.env("HOME"), "B": "b"})
assert_type(client.run(["true"], cpus=1, timeout=5), ExecResult)
client.machine("agent", branchable=True, secrets={"A": Secret("x")})
with client.dry_run(echo=False) as plan:
    assert_type(plan, Plan)
Smolvm(on_call=spans())

runner = SubprocessRunner("/bin/smolvm", prefix=["sudo", "-n"], env={"A": "b"})
assert_type(runner.run(Ls()), tuple[MachineInfo, ...])
assert_type(FakeRunner().run(Exec("m", ["true"])), ExecResult)
words: Sequence[str] = ("true",)
Exec("m", words)
