"""A shell script that stands in for the engine, for tests of real processes (signals, pipes, PATH) without a VM."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, final

from smolkit.commands.versions import NEWEST

PROGRAM = r"""#!/bin/sh
# Pretends to be smolvm @VERSION@. Made by smolkit.testing.PretendEngine; its machines are the files in ./state.
cd "$(dirname "$0")/state" || exit 9
if [ "$1" = --version ]; then echo "smolvm @VERSION@"; exit; fi
[ "$1" = --error-format ] && shift 2
verb=$2
shift 2
while [ "$1" != -- ] && [ $# -gt 0 ]; do
    case $1 in
    --name) name=$2; shift ;;
    --label) labels="$labels,\"${2%%=*}\":\"${2#*=}\""; shift ;;
    -e) export "$2"; shift ;;
    --secret-env) secret=${2#*=}; eval "export \"${2%%=*}=\$$secret\""; shift ;;
    -w) workdir=$2; shift ;;
    esac
    shift
done
[ "$1" = -- ] && shift
echo "$verb" >>../calls
fail() { echo "{\"error\":{\"code\":\"X\",\"message\":\"$1\"}}" >&2; exit 1; }
show() { echo "{\"name\":\"$1\",\"created_at\":1,\"labels\":{$(cat "m-$1")}}"; }
misbehave() {
    case $1 in
    fail) fail "it broke" ;;
    busy) fail "database error: database is locked" ;;
    die) kill -KILL $$ ;;
    hang) sleep 60 ;;
    esac
}
[ "$verb" = start ] && touch "vmm-$name"
if [ -e "../strike-$verb" ]; then
    signals=$(cat "../strike-$verb"); rm "../strike-$verb"
    for signal in $signals; do kill "-$signal" $PPID; sleep 0.3; done
fi
if [ -e "../fault-$verb" ]; then fault=$(cat "../fault-$verb"); rm "../fault-$verb"; fi
misbehave "$fault"
case $verb in
create) [ -e "m-$name" ] && fail "machine '$name' already exists"; echo "${labels#,}" >"m-$name" ;;
start) [ -e "m-$name" ] || fail "vm not found: $name"; mv "vmm-$name" "running-$name" ;;
stop) rm -f "running-$name" "vmm-$name" ;;
delete) [ -e "m-$name" ] || fail "vm not found: $name"; rm -f "m-$name" "running-$name" ;;
exec)
    [ -e "running-$name" ] || fail "machine '$name' is not running"
    cd "${workdir:-..}" || fail "no such folder"
    [ "$fault" ] || exec "$@"
    "$@"; status=$? ;;
data-dir) [ -e "m-$name" ] || fail "vm not found: $name"; pwd ;;
status) [ -e "m-$name" ] || fail "vm not found: $name"; show "$name" ;;
ls) echo "["; for file in m-*; do
    [ -e "$file" ] || continue
    echo "$comma"; comma=,; show "${file#m-}"
    done; echo "]" ;;
*) echo "error: unrecognized subcommand '$verb'" >&2; exit 2 ;;
esac
misbehave "${fault%-late}"
exit ${status:-0}
"""


@final
class PretendEngine:
    """A stand-in for the engine's program: `Smolvm(PretendEngine(tmp_path).program)`.

    It implements create, start, stop, delete, exec, status, ls and data-dir. Its machines are files. A command in a machine
    really runs, on this host and without isolation, with the given environment, working directory and pipes. A VM whose
    start did not end is in no record: `stop` ends it and `delete -f` does not, as in the real engine.

    Args:
        folder: The directory for the program and its state.
        version: The engine version that it reports (1.28.1 or later).

    Attributes:
        folder: The directory.
        program: The program, named `smolvm`: the directory may go on a PATH.
    """

    def __init__(self, folder: str | Path, version: str = NEWEST) -> None:
        self.folder: Path = Path(folder)
        self.program: Path = self.folder / "smolvm"
        (self.folder / "state").mkdir(parents=True)
        self.program.write_text(PROGRAM.replace("@VERSION@", version))
        self.program.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """The subcommands that were called, in order."""
        log = self.folder / "calls"
        return log.read_text().split() if log.exists() else []

    @property
    def left(self) -> list[str]:
        """The machines (`m-NAME`), running machines (`running-NAME`) and half-booted VMs (`vmm-NAME`) that are left."""
        return sorted(path.name for path in (self.folder / "state").iterdir())

    def strike(self, verb: str, *signals: str) -> None:
        """Let the next call of a subcommand send signals to its parent, one after the other, before it does its work.

        Args:
            verb: The subcommand: `start`, `exec` and so on.
            signals: Names of signals: `"INT"`.
        """
        (self.folder / f"strike-{verb}").write_text(" ".join(signals))

    def fault(self, verb: str, kind: Literal["fail", "busy", "die", "hang", "fail-late", "die-late", "hang-late"]) -> None:
        """Let the next call of a subcommand go wrong.

        Args:
            verb: The subcommand: `start`, `exec` and so on.
            kind: "fail" is an error of the engine, "busy" a locked database, "die" a SIGKILL, and "hang" takes a minute;
                with "-late" after the work is done.
        """
        (self.folder / f"fault-{verb}").write_text(kind)
