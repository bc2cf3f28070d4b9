"""The lifecycle on the real engine: kept machines, many at once, reused names, readiness."""

from __future__ import annotations

import threading

import pytest

from smolkit import Machine, Smolvm, errors
from tests.engine.conftest import Boot, vmms
from tests.engines import again, throwaway_client

pytestmark = pytest.mark.engine


def test_a_machine_that_is_kept(boot: Boot, real: Smolvm) -> None:
    """With keep="on_error" the machine runs on, the note's command line opens a shell, and it can be deleted by name."""
    with pytest.raises(KeyError) as caught, boot("kept", keep="on_error") as machine:
        machine.sh("echo evidence >/root/evidence", check=True)
        raise KeyError("mine")

    assert "smolvm machine shell --name kept" in "".join(caught.value.__notes__)
    kept = real.machine("kept")
    assert "evidence\n" == kept.exec(["cat", "/root/evidence"]).stdout
    kept.delete()
    assert not kept.exists()


def test_many_at_once_on_a_fresh_host() -> None:
    """Threads that share a client on a new state directory start machines without errors and leave nothing."""
    before = len(vmms())
    failures: list[BaseException] = []
    with throwaway_client() as client:

        def lifecycle(number: int) -> None:
            machine = client.machine(f"many{number}", cpus=1, memory=512)
            try:
                again(machine.__enter__)
                assert f"{number}\n" == machine.exec(["echo", str(number)]).stdout
                machine.__exit__(None, None, None)
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        threads = [threading.Thread(target=lifecycle, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [] == failures
        assert [] == client.ls()
    assert before == len(vmms())


def test_a_name_that_was_used_again(real: Smolvm) -> None:
    """A handle whose machine was deleted does not touch a later machine of the same name."""
    mine, theirs = real.machine("reused"), real.machine("reused")
    mine.create()
    theirs.delete()
    theirs.create()

    for harm in (mine.stop, mine.delete):
        with pytest.raises(errors.MachineReplacedError):
            harm()
    assert theirs.exists()
    theirs.delete()


def test_waiting_for_a_guest_to_be_ready(shared: Machine) -> None:
    """wait_until returns for a file, a command and a port, published or not."""
    shared.sh("(sleep 2; echo >/tmp/ready; exec nc -l -p 7070) >/dev/null 2>&1 &", check=True)

    shared.wait_until(path="/tmp/ready")
    shared.wait_until(command=["test", "-s", "/tmp/ready"])
    shared.wait_until(port=7070)
    with pytest.raises(errors.WaitTimeoutError) as caught:
        shared.wait_until(port=7071, timeout=2)
    assert "the end of agent-console.log" in "".join(caught.value.__notes__)
    shared.sh("kill $(pidof nc); rm /tmp/ready", check=True)


def test_waiting_for_a_line_of_the_log(boot: Boot, image_folder: str) -> None:
    """wait_until returns for a line that the workload of an image machine writes."""
    with boot("logs", image=image_folder, command=["sh", "-c", "sleep 1; echo port 80 is open; sleep 1000"]) as machine:
        machine.wait_until(log=r"^port \d+ is open$")
        with pytest.raises(errors.WaitTimeoutError, match="no line of its logs matched"):
            machine.wait_until(log="closed", timeout=1)
        assert "port 80 is open\n" == machine.logs()
        with machine.follow_logs() as process:
            assert ("stdout", "port 80 is open\n") == next(iter(process))
            process.kill()
