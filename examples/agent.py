"""A very small agent, which works on a task in a microVM of its own."""

from __future__ import annotations

from smolkit import Smolvm, errors


def work(client: Smolvm, task: str, *, patience: float = 60.0) -> str:
    """Have a guest work on the task and return its report. If the machine dies, try once more with another one.

    Args:
        client: The client that makes the machine.
        task: The text of the task.
        patience: Seconds for the guest's work.

    Raises:
        TimeoutError: The work took longer than `patience`.
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
