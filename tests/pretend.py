"""A program that pretends to be the engine, for tests that want real processes and no VM. It keeps machines as files.

A VM whose start did not end is in no record: `stop` ends it, `delete -f` does not, as with the real engine. Files beside
the program, one per verb, make it misbehave once:

strike-VERB     Signals that it sends to its parent, one after the other, before it does its work.
fault-VERB      What happens to it: `fail` (it refuses), `busy` (a lock is taken), `die` and `hang` (before it did its
                work), `fail-late`, `die-late` and `hang-late` (after it).
"""

from __future__ import annotations

from pathlib import Path

PROGRAM = r"""#!/bin/sh
cd "$(dirname "$0")/state" || exit 9
verb=$4
while [ "$1" != -- ] && [ $# -gt 0 ]; do
    [ "$1" = --name ] && name=$2
    [ "$1" = --label ] && labels="$labels,\"${2%%=*}\":\"${2#*=}\""
    shift
done
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
start) mv "vmm-$name" "running-$name" ;;
stop) rm -f "running-$name" "vmm-$name" ;;
delete) [ -e "m-$name" ] || fail "vm not found: $name"; rm -f "m-$name" "running-$name" ;;
exec) [ -e "running-$name" ] || fail "machine '$name' is not running" ;;
status) [ -e "m-$name" ] || fail "vm not found: $name"; show "$name" ;;
ls) echo "["; for file in m-*; do
    [ -e "$file" ] || continue
    echo "$comma"; comma=,; show "${file#m-}"
    done; echo "]" ;;
esac
misbehave "${fault%-late}"
"""


def install(folder: Path) -> Path:
    """Puts the program, and a state without machines, into a folder."""
    (folder / "state").mkdir(parents=True)
    program = folder / "smolvm"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return program


def left(folder: Path) -> list[str]:
    """Machines (m-NAME) and VMs (vmm-NAME, running-NAME) that are still there."""
    return sorted(path.name for path in (folder / "state").iterdir())


def calls(folder: Path) -> list[str]:
    """The engine's verbs, as they were called."""
    return (folder / "calls").read_text().split()
