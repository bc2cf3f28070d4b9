"""Scripts for the guest's `sh` that work on its files. Their exit status tells what went wrong (see `script.CODES`)."""

from __future__ import annotations

from smolkit.values.shown import SCRIPT_TITLE

_PLAIN = b"/._-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
# Paths are encoded for `printf %b`, so that any bytes pass through the engine, which accepts only UTF-8. The dot protects
# newlines at the end. `seen` and `linked` leave it to a program to report the kernel's error, which `failure` reads.
# Globs are `* .*`: in a UTF-8 locale, `.[!.]*` does not match bytes that are no character.
_PRELUDE = """\
export LC_ALL=C
decode() { decoded=$(printf '%b.' "$1"); decoded=${decoded%.}; }
have() { [ -e "$1" ] || [ -L "$1" ]; }
seen() { [ -e "$1" ] || { ls -Ld -- "$1" >/dev/null; exit 80; }; }
linked() { have "$1" || { ls -d -- "$1" >/dev/null; exit 80; }; }
real_dir() { [ -d "$1" ] && [ ! -L "$1" ]; }
ready() { [ ! -p "$1" ] && [ ! -S "$1" ] || { echo "a FIFO or a socket: it may have no other end" >&2; exit 89; }; }
need() { command -v "$1" >/dev/null || { echo "$1" >&2; exit 87; }; }
decode "$1"; p=$decoded; decode "$2"; q=$decoded
"""
# Resolves the symlinks of p. Not `readlink -f`: that of busybox resolves a dangling symlink against its own directory.
_RESOLVE = """\
hops=0
while [ -L "$p" ]; do
    hops=$((hops + 1)); [ "$hops" -le 40 ] || exit 90
    to=$(readlink -n -- "$p" && echo .) || exit 82; to=${to%.}
    case $to in /*) p=$to;; *) p=${p%/*}/$to;; esac
done
"""
# Checks that a directory can be made: its nearest existing ancestor must be a directory.
_WAY = """\
way() { up=${1%/*}; while [ "$up" ] && ! have "$up"; do up=${up%/*}; done; seen "$up/"; }
"""
# Without chmod, a user other than root could not remove a staged tree with a read-only directory.
_CLEAR = """\
clear() { rm -rf -- "$1" 2>/dev/null || { chmod -R u+rwx -- "$1"; rm -rf -- "$1"; } 2>/dev/null; }
"""

BLOCK = 4096
# $3: blocks to skip, or empty; $4: bytes to read after these, or empty. dd seeks in the stdin that it shares with head.
# (`tail -c +N` of busybox reads all that it skips, and `dd count=N` takes a short read for a whole
# block.) It fails far beyond the end of a file, where a file system can have none: nothing is there to read.
READ = f"""\
[ -d "$p" ] && exit 81; ready "$p"
[ "$3$4" ] || exec cat -- "$p"
seen "$p"; exec <"$p" || exit 86
if [ "$3" ]; then
    need dd
    dd bs={BLOCK} skip="$3" count=0 2>/dev/null || {{ [ -f "$p" ] && exit 0; exit 86; }}
fi
if [ "$4" ]; then exec head -c "$4"; else exec cat; fi
"""
# $q is a fresh name; $3 the number of bytes; $4, $5 and $6 mode, owner and time, or empty; $7 not empty to make missing
# parents. Until the mode is set, only the guest's user can read the file. Written in place is what cannot be replaced: a
# device, a file in /proc or /sys, a mount point (as /etc/hosts may be), and another user's file, whose owner would change.
WRITE = (
    _RESOLVE
    + _WAY
    + """\
[ -d "$p" ] && exit 81; ready "$p"
[ -z "$7" ] || { way "$p"; mkdir -p -- "${p%/*}/" || exit 86; }
seen "${p%/*}/"
case $p in /proc/*|/sys/*) kernels=yes;; *) kernels=;; esac
[ -e "$p" ] && { [ "$kernels" ] || [ ! -f "$p" ]; } && exec cat >"$p"
q=${p%/*}/$q; mask=$(umask); umask 077
trap 'rm -f -- "$q"' EXIT
true >"$q" || exit 86
mode=$4; owner=
if [ -e "$p" ]; then
    [ -w "$p" ] || exit 82
    [ "$mode" ] || mode=$(stat -c %a -- "$p"); owner=$(stat -c %u:%g -- "$p")
fi
cat >"$q" || exit 86
[ "$(wc -c <"$q")" -eq "$3" ] || exit 86
mode=${mode:-$(printf %o $((0666 & ~0$mask)))}; owner=${5:-$owner}; time=$6
dress() {
    [ -z "$owner" ] || chown "$owner" -- "$1" || exit 82
    chmod "$mode" -- "$1" || exit 82
    [ -z "$time" ] || touch -d "$time" -- "$1" || exit 86
}
in_place() { [ -f "$p" ] && cat -- "$q" >"$p" || exit 86; }
if [ -z "$5" ] && [ "$owner" ] && ! chown "$owner" -- "$q" 2>/dev/null; then
    [ "$4$6" ] && exit 82
    in_place
else
    dress "$q"
    mv -f -- "$q" "$p" || { in_place; dress "$p"; }
fi
"""
)
EXISTS = 'if have "$p"; then echo yes; fi\n'
STAT = """exec stat $3 -c '%f %s %u %g %Y' -- "$p"\n"""
LISTDIR = """\
seen "$p/"; [ -r "$p" ] && cd -P -- "$p" || exit 82
for f in * .*; do case $f in .|..) ;; *) if have "$f"; then printf '%s\\0' "$f"; fi;; esac; done
"""
# Lists the directories $1, $2, ... with what stat says of each entry. For a hundred entries at a time: ./NAME and NUL for
# each, NUL; a line for each, in this order, NUL; a line for what each symlink leads to, NUL. At the end of a directory
# =STATUS, a space and the error message, NUL. An entry that is gone by then has no line. (Only GNU's stat writes NULs.)
SCAN = """\
need stat
enter() { seen "$1/"; [ -r "$1" ] && cd -P -- "$1" || exit 82; }
lines() { [ $# -eq 1 ] || { follow=$1; shift; stat $follow -c '%f %s %u %g %Y %n' -- "$@" 2>/dev/null; }; printf '\\0'; }
batch() {
    [ $# -gt 0 ] || return 0
    printf '%s\\0' "$@" ''; lines '' "$@"
    for f; do shift; [ -L "$f" ] && set -- "$@" "$f"; done
    lines -L "$@"
}
entries() {
    set --
    for f in * .*; do
        case $f in .|..) continue;; esac
        have "./$f" || continue
        set -- "$@" "./$f"; [ $# -lt 100 ] || { batch "$@"; set --; }
    done
    batch "$@"
}
for path; do
    [ "$path" ] || continue
    decode "$path"; why=$(enter "$decoded" 2>&1); status=$?
    [ "$status" -ne 0 ] || (enter "$decoded" && entries)
    printf '=%s %s\\0' "$status" "$why"
done
"""
# $3: -p or empty; $4: the mode or empty; $5: not empty if an existing directory is fine.
MKDIR = (
    _WAY
    + """\
[ "$5" ] && [ -d "$p" ] && exit 0; have "$p" && exit 84
[ -z "$3" ] || way "$p"
mkdir $3 -- "$p" || exit 86
[ -z "$4" ] || chmod "$4" -- "$p"
"""
)
# $3: not empty to remove a directory with everything in it.
REMOVE = """\
linked "$p"; case ${p##*/} in ''|..) exit 88;; esac
real_dir "$p" || exec rm -f -- "$p"
[ "$3" ] && exec rm -rf -- "$p"
exec rmdir -- "$p"
"""
# Like the kernel's rename(); $3 is a fresh name. mv differs: it moves into an existing directory, refuses a symlink to one,
# and follows symlinks. In these cases the target is moved aside first, and back if the rename fails. mv also copies across
# mounts, which is refused here.
RENAME = """\
real() { real=$(cd -P -- "${1%/*}/" && pwd -P && echo .) || exit 82; real=${real%??}; real=${real%/}/${1##*/}; }
seen "${p%/*}/"; seen "${q%/*}/"; linked "$p"
case ${p##*/} in ''|..) exit 88;; esac; case ${q##*/} in ''|..) exit 88;; esac
real "$p"; a=$real; real "$q"; b=$real
[ "$a" = "$b" ] && exit 0
[ ! -L "$p" ] && [ ! -L "$q" ] && [ "$p" -ef "$q" ] && exit 0
real_dir "$p" && case $b in "$a"/*) exit 89;; esac
case $a in "$b"/*) exit 85;; esac
if real_dir "$p"; then
    have "$q" && { real_dir "$q" || exit 83; }
    [ "$(stat -c %d -- "$p")" = "$(stat -c %d -- "${p%/*}/")" ] || exit 88
else
    real_dir "$q" && exit 81
fi
if [ -d "$q" ] || [ "$p" -ef "$q" ] || { [ -L "$q" ] && [ ! -e "$q" ]; }; then
    real_dir "$q" && for f in "$q"/* "$q"/.*; do case ${f##*/} in .|..) ;; *) have "$f" && exit 85;; esac; done
    t=${q%/*}/$3
    mv -f -- "$q" "$t" || exit 86
    mv -f -- "$p" "$q" || { mv -f -- "$t" "$q"; exit 86; }
    if real_dir "$t"; then rmdir -- "$t" || { mv -f -- "$q" "$p"; mv -f -- "$t" "$q"; exit 85; }; else rm -f -- "$t"; fi
else
    mv -f -- "$p" "$q" || exit 86
fi
"""
# Unpacks a tree from a tar (see `archive.pack`) into the fresh name $q. $p stays unchanged until everything has arrived.
# $3: the owner or empty; $4 and $5: mode and time of the tree's top directory, if it is new. busybox' tar applies the
# umask. An existing directory is merged with the tree unless a file and a directory clash; a symlink in it is replaced, not
# followed.
UNPACK = (
    _WAY
    + _CLEAR
    + """\
clash() (
    cd -P -- "$1" || exit 86
    for f in * .*; do
        case $f in .|..) continue;; esac
        if ! real_dir "./$f"; then real_dir "$2/$f" && { echo "$2/$f" >&2; exit 81; }
        elif real_dir "$2/$f"; then clash "./$f" "$2/$f" || exit
        else have "$2/$f" && { echo "$2/$f" >&2; exit 83; }; fi
    done
    exit 0
)
merge() (
    cd -P -- "$1" || exit 86
    to=$2; set --
    for f in * .*; do
        case $f in .|..) continue;; esac
        have "./$f" || continue
        if real_dir "./$f" && real_dir "$to/$f"; then merge "./$f" "$to/$f" || exit; continue; fi
        [ -L "$to/$f" ] && [ ! -e "$to/$f" ] && rm -f -- "$to/$f"
        set -- "$@" "./$f"; [ $# -lt 500 ] || { mv -f -- "$@" "$to/" || exit 86; set --; }
    done
    [ $# -eq 0 ] || mv -f -- "$@" "$to/" || exit 86
)
need tar; [ -L "$p" ] && seen "$p"; have "$p" && [ ! -d "$p" ] && exit 83
if [ -d "$p" ]; then q=$p/$q; else way "$p"; mkdir -p -- "${p%/*}/" || exit 86; q=${p%/*}/$q; fi
trap 'clear "$q"' EXIT
(umask 077; mkdir -- "$q") && cd -P -- "$q" || exit 86
umask 0; tar -x -p -o -f - || exit 86
[ -e modes ] || exit 86
[ -z "$3" ] || chown -Rh "$3" -- tree || exit 82
new=
if [ -d "$p" ]; then clash ./tree "$p" && merge ./tree "$p" || exit; else mv -- tree "$p" || exit 86; new=yes; fi
cd -P -- "$p" && tar -x -p -o -f "$q/times" && . "$q/modes" || exit 86
[ -z "$new" ] || { chmod "$4" . && touch -d "$5" .; } || exit 86
"""
)
# Removes what an interrupted WRITE or UNPACK left under the fresh name $q. It retries, as their programs may still be
# ending.
DISCARD = (
    _CLEAR
    + "beside=${p%/*}\n"
    + _RESOLVE
    + """\
for round in 1 2 3 4 5; do
    left=
    for f in "$p/$q" "$beside/$q" "${p%/*}/$q"; do
        if have "$f"; then clear "$f"; fi
        have "$f" && left=$f
    done
    [ "$left" ] || exit 0; sleep 1
done
exit 86
"""
)
PACK = """\
need tar; seen "$p/"; [ -r "$p" ] && cd -P -- "$p" || exit 82
exec tar -c -f - .
"""
SIZE = """\
seen "$p"
if [ -d "$p" ]; then find "$p/" -type f -exec stat -c %s -- '{}' + | awk '{ s += $1 } END { printf "%.0f\\n", s }'
else exec stat -L -c %s -- "$p"; fi
"""


def encode(path: str) -> str:
    """A path encoded for `printf %b`."""
    data = path.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in data)


# The first line of each script: what is shown of it (see `shown.shell_line`). "$1" is the path.
_TITLES = {
    READ: "read $1",
    WRITE: "write $1 ($3 bytes)",
    EXISTS: "look for $1",
    STAT: "stat $1",
    LISTDIR: "list $1",
    SCAN: "list $1",
    MKDIR: "make $1",
    REMOVE: "remove $1",
    RENAME: "rename $1",
    UNPACK: "upload to $1",
    DISCARD: "remove what is left of an upload to $1",
    PACK: "download $1",
    SIZE: "measure $1",
}


def title(script: str) -> str:
    """The first line of a script: what is shown of it."""
    return _TITLES.get(script, "work on $1")


def words(script: str, path: str, other: str = "", *args: str) -> tuple[str, ...]:
    """The command that runs a script with one or two paths of the guest, and further arguments."""
    text = f"{SCRIPT_TITLE}{title(script)}\n{_PRELUDE}{script}"
    return ("sh", "-c", text, "sh", encode(path), encode(other), *args)
