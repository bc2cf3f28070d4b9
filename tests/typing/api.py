"""The public types, as a user's type checker sees them: checked by mypy and pyright, never run."""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_type

from smolkit import (
    AsyncMachine,
    AsyncSmolvm,
    Check,
    Engine,
    ExecResult,
    FileStat,
    GuestPath,
    Machine,
    MachineInfo,
    RemoteRunner,
    Secret,
    Smolvm,
    SshRunner,
    StdioLink,
    SubprocessRunner,
)
from smolkit.aio import AsyncMonitoring, AsyncProcess, in_loop
from smolkit.commands import Exec, Ls
from smolkit.otel import spans
from smolkit.runners import Plan
from smolkit.testing import FakeRunner
from smolkit.values.observed import MonitorEvent, Stats

client = Smolvm()
assert_type(client.engine, Engine)
assert_type(client.ls(), list[MachineInfo])
assert_type(client.doctor(), list[Check])
assert_type(client.is_available(), bool)
assert_type(client.machine("agent", cpus=1, memory=512, ports=[8080, (8081, 80)], env={"A": "b"}), Machine)
client.machine(mem=512)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
client.machine(cpus="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

with client.machine() as m:
    assert_type(m, Machine)
    assert_type(m.exec(["true"], check=True, timeout=1.5, input="x"), ExecResult)
    assert_type(m.sh("a | b", env={"A": "b"}), ExecResult)
    assert_type(m.exec(["true"]).stdout, str)
    assert_type(m.path("/root") / "x", GuestPath)
    assert_type(m.status(), MachineInfo)
    assert_type(m.exists(), bool)
    m.cp(Path("x"), m.path("/x"))
    m.sh("x", chek=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    for stream, chunk in m.popen(["true"]):
        assert_type((stream, chunk), tuple[str, bytes])
    for stream, line in m.popen(["true"], text=True, stdin=True, timeout=5):
        assert_type((stream, line), tuple[str, str])
    assert_type(m.spawn(["true"]).is_running(), bool)
    assert_type(m.read_text("/x"), str)
    assert_type(m.stat(m.path("/x")), FileStat)
    assert_type(m.stats(), Stats)
    assert_type(m.branch("twig", labels={"a": "b"}), Machine)
    assert_type(m.shell() + m.terminal(["python3"], env={"A": "b"}) + client.terminal(), int)
    for event in m.monitor(restart="always"):
        assert_type(event, MonitorEvent)
    assert_type(client.run_detached(["true"], "web", keep="on_error", cpus=1), Machine)
    m.update(cpus=2, allow_cidrs=["10.0.0.0/8"])
    m.update(cpu=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    m.exec(["true"], secrets={"A": Secret.env("HOME"), "B": "b"})
assert_type(client.run(["true"], cpus=1, timeout=5), ExecResult)
client.machine("agent", branchable=True, secrets={"A": Secret("x")})
with client.dry_run(echo=False) as plan:
    assert_type(plan, Plan)
Smolvm(on_call=spans())


async def on_the_async_side() -> None:
    """The same types, awaited."""
    client = AsyncSmolvm(max_processes=4)
    assert_type((await client.engine).version, str)
    assert_type(await client.ls(labels={"a": "b"}), list[MachineInfo])
    assert_type(client.machine("agent", cpus=1), AsyncMachine)
    client.machine(mem=512)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    async with client.machine() as m:
        assert_type(m, AsyncMachine)
        assert_type(m.name, str)
        assert_type(await m.exec(["true"], check=True, timeout=1.5), ExecResult)
        assert_type(await m.sh("a | b", env={"A": "b"}), ExecResult)
        await m.exec("true", chek=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        await m.cp(Path("x"), m.path("/x") / "y")
        async for stream, chunk in await m.popen(["true"]):
            assert_type((stream, chunk), tuple[str, bytes])
        async with await m.popen(["true"], text=True, stdin=True, timeout=5) as process:
            assert_type(process, AsyncProcess[str])
            async for stream, line in process:
                assert_type((stream, line), tuple[str, str])
        assert_type(await (await m.spawn(["true"])).is_running(), bool)
        assert_type(await m.read_text("/x"), str)
        assert_type(await m.branch("twig", labels={"a": "b"}), AsyncMachine)
        assert_type(await m.branch_many(2), list[AsyncMachine])
        async with await m.monitor() as monitoring:
            assert_type(monitoring, AsyncMonitoring)
            async for event in monitoring:
                assert_type(event, MonitorEvent)
        assert_type(await client.run_detached(["true"]), AsyncMachine)
        assert_type(m.to_sync(), Machine)
        await m.update(cpu=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(await in_loop(runner.run, Ls()), tuple[MachineInfo, ...])
    assert_type(await client.run(["true"], cpus=1, timeout=5), ExecResult)


runner = SubprocessRunner("/bin/smolvm", prefix=["sudo", "-n"], env={"A": "b"})
assert_type(runner.run(Ls()), tuple[MachineInfo, ...])
assert_type(FakeRunner().run(Exec("m", ["true"])), ExecResult)
assert_type(SshRunner("build1", options=["-p", "22"], program="smolvm", heartbeat=5).run(Ls()), tuple[MachineInfo, ...])
SshRunner("build1", programm="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
assert_type(Smolvm(runner=RemoteRunner(StdioLink(["env"]), env={"A": "b"})).ls(), list[MachineInfo])
words: Sequence[str] = ("true",)
Exec("m", words)
