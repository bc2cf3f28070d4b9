"""A very small agent: it is given a task, and works on it in a microVM of its own."""

from __future__ import annotations

from smolkit import Smolvm, errors


def work(client: Smolvm, task: str, *, patience: float = 60.0) -> str:
    """Has the guest work on the task, and gives its report. A machine that dies under it is tried once more.

    Raises:
        TimeoutError: it took longer than that many seconds.
    """
    for last in (False, True):
        try:
            with client.machine(cpus=1, memory=512) as machine:
                machine.write_text("/root/task", task)
                machine.exec(["sh", "-c", "cat /root/task >/root/report"], timeout=patience, check=True)
                return machine.read_text("/root/report")
        except errors.ExecTimeoutError as error:
            raise TimeoutError(f"not done within {patience:g} s") from error
        except (errors.ConnectionLostError, errors.BootFailedError):
            if last:
                raise
    raise AssertionError("not reached")
