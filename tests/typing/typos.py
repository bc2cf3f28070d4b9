"""Typos, each refused by mypy and by pyright: checked by both, never run. One that passes is an unused ignore, an error."""

# ruff: noqa: B018

import smolkit
from smolkit import AsyncSmolvm, Process, Smolvm, commands, errors, testing, values
from smolkit.aio import AsyncProcess


def modules() -> None:
    """Names of packages, which load lazily."""
    smolkit.Mahcine  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    values.ExecReslt  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    commands.Exce  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    testing.FakeSmolvn  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    errors.SmolvmEror  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def sync(client: Smolvm, process: Process[str], error: errors.CommandFailedError) -> None:
    """Methods, keywords and attributes."""
    client.mahcine()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    client.sesion  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    client.ls(label={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.machine(cpu=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    machine = client.machine()
    machine.exce(["x"])  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    machine.nam  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    machine.exec(["x"], chek=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    machine.sh("x", chek=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    machine.popen(["x"], txt=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    machine.exec(["x"]).stdot  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    machine.status().cpu  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    machine.spawn(["x"]).kil()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    machine.monitor().halt()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    machine.monitor(restrat="always")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    process.retruncode  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    process.wait(timout=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    error.reslt  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


async def twins(client: AsyncSmolvm, process: AsyncProcess[str]) -> None:
    """The same on the async side, where a class is a table of the sync side's methods."""
    client.mahcine()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    client.sesion  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    client.session = "x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    await client.ls(label={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    (await client.engine).versoin  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    client.machine(cpu=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    machine = client.machine()
    await machine.exce(["x"], chek=1)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    machine.nam  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    await machine.exec(["x"], chek=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await machine.sh("x", chek=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await machine.popen(["x"], txt=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    (await machine.exec(["x"])).stdot  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    (await machine.spawn(["x"])).machin  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    await (await machine.spawn(["x"])).kil()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    await (await machine.monitor()).halt()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    await machine.monitor(restrat="always")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    process.retruncode  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    process.stdn  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    await process.wait(timout=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with client.machine():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    machine.exec(["x"]).stdout  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
