"""The public types, as a user's type checker sees them: checked by mypy, never run."""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_type

from smolkit import Check, Engine, ExecResult, GuestPath, Machine, MachineInfo, Smolvm, SubprocessRunner
from smolkit.commands import Exec, Ls
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

runner = SubprocessRunner("/bin/smolvm", prefix=["sudo", "-n"], env={"A": "b"})
assert_type(runner.run(Ls()), tuple[MachineInfo, ...])
assert_type(FakeRunner().run(Exec("m", ["true"])), ExecResult)
words: Sequence[str] = ("true",)
Exec("m", words)
