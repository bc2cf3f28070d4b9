"""Calls that people get wrong: each is refused before anything runs, and says what was meant."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

import smolkit
from smolkit import Secret, Smolvm, SubprocessRunner
from smolkit.testing import FakeSmolvm

Wrong = tuple[str, type[Exception], str]

# What machines are made of: (keywords of client.machine, error, words of its message).
OPTIONS: list[Wrong] = [
    # Ports: ints, pairs (host, guest), mappings {host: guest}, the engine's own text.
    ("ports=(8080, 80)", ValueError, "[(8080, 80)]"),
    ("ports={'80/tcp': 8080}", TypeError, "{host: guest}"),
    ("ports={8080: '80/tcp'}", TypeError, "{host: guest}"),
    ("ports={8080: None}", TypeError, "{host: guest}"),
    ("ports={8080: ('127.0.0.1', 80)}", TypeError, "{host: guest}"),
    ("ports=[{8080: 80}]", TypeError, "pair"),
    ("ports=[(8080, 80, 'udp')]", ValueError, "pair"),
    ("ports=[(8080,)]", ValueError, "pair"),
    ("ports=[('127.0.0.1', 8080)]", TypeError, "int"),
    ("ports=[8080.0]", TypeError, "int"),
    ("ports=[True]", TypeError, "int"),
    ("ports=[0]", ValueError, "65535"),
    ("ports=[70000]", ValueError, "65535"),
    ("ports='8080:80'", TypeError, "['8080:80']"),
    ("ports=b'8080'", TypeError, "list"),
    ("ports=['127.0.0.1:8080:80']", ValueError, "8080:80"),
    ("ports=['8080:80/sctp']", ValueError, "8080:80"),
    ("ports=['8000-8010:80']", ValueError, "both sides"),
    ("ports=80.5", TypeError, "list"),
    ("ports={8080, 9090}", TypeError, "list(...)"),
    ("ports=(port for port in [80])", TypeError, "list(...)"),
    ("ports=True", TypeError, "list"),
    ("ports=-1", ValueError, "65535"),
    ("ports={70000: 80}", ValueError, "65535"),
    # Volumes likewise.
    ("volumes='/src:/dst'", TypeError, "['/src:/dst']"),
    ("volumes=('/src', '/dst')", ValueError, "[('/src', '/dst')]"),
    ("volumes=['/src']", ValueError, "HOST:GUEST"),
    ("volumes=[('/src',)]", ValueError, "(host, guest)"),
    ("volumes=[('/src', '/dst', 'rw', 'x')]", ValueError, "(host, guest)"),
    ("volumes=[('/src', '/dst', 'wr')]", ValueError, "'ro'"),
    ("volumes=[('/src', 'dst')]", ValueError, "absolute"),
    ("volumes={'/src': 'dst'}", ValueError, "absolute"),
    ("volumes={'/src': {'bind': '/dst', 'mode': 'ro'}}", TypeError, "('/dst', 'ro')"),
    ("volumes={'/src': None}", TypeError, "guest"),
    ("volumes={1: '/dst'}", TypeError, "host"),
    ("volumes=[{'/src': '/dst'}]", TypeError, "(host, guest)"),
    ("volumes=[1]", TypeError, "HOST:GUEST"),
    ("volumes=[b'/src:/dst']", TypeError, "HOST:GUEST"),
    ("volumes=['/src:dst']", ValueError, "absolute"),
    ("volumes=['/src:/dst:wr']", ValueError, "'ro'"),
    ("volumes=[('/sr:c', '/dst')]", ValueError, "':'"),
    ("volumes={Path('/sr:c'): '/dst'}", ValueError, "':'"),
    # Sizes: MiB, or text with a unit.
    ("memory=512 * 1024 * 1024", ValueError, "MiB"),
    ("memory=2 * 2**30", ValueError, "2048"),
    ("memory=0", ValueError, "64"),
    ("memory=-1", ValueError, "64"),
    ("memory=32", ValueError, "64"),
    ("memory=512.0", TypeError, "int"),
    ("memory=True", TypeError, "int"),
    ("memory='lots'", ValueError, "'512M'"),
    ("memory='512'", ValueError, "'512M'"),
    ("memory='1K'", ValueError, "64"),
    ("memory='1T1'", ValueError, "'512M'"),
    ("memory=''", ValueError, "memory"),
    ("memory=[512]", TypeError, "int"),
    ("storage='20'", ValueError, "'20G'"),
    ("storage=20 * 2**30", ValueError, "GiB"),
    ("storage=0", ValueError, "1"),
    ("storage='512M'", ValueError, "GiB"),
    ("storage=20.5", TypeError, "int"),
    ("overlay=10 * 2**30", ValueError, "GiB"),
    ("overlay='x'", ValueError, "'20G'"),
    ("cpus='2'", TypeError, "int"),
    ("cpus=0", ValueError, "1"),
    ("cpus=-2", ValueError, "1"),
    ("cpus=1.5", TypeError, "int"),
    ("cpus=1000", ValueError, "255"),
    ("cpus=True", TypeError, "int"),
    ("gpu_vram='4G'", TypeError, "int"),
    ("max_image_size=0", ValueError, "1"),
    ("max_image_size='big'", ValueError, "16GiB"),
    ("shm_size='200%'", ValueError, "25%"),
    ("shm_size=0.5", TypeError, "str"),
    # Where they come from.
    ("image=b'alpine'", TypeError, "image"),
    ("image=['alpine']", TypeError, "image"),
    ("image=''", ValueError, "empty"),
    ("image='  '", ValueError, "blank"),
    ("image=1", TypeError, "image"),
    ("image='alpine', from_path='x.smolmachine'", ValueError, "from_path"),
    ("from_path=''", ValueError, "empty"),
    ("from_path=1", TypeError, "PathLike"),
    ("smolfile=b'Smolfile'", TypeError, "PathLike"),
    # Their network.
    ("net='yes'", TypeError, "True or False"),
    ("net=1", TypeError, "True or False"),
    ("net=False, allow_hosts=['pypi.org']", ValueError, "net=False"),
    ("allow_hosts='pypi.org'", TypeError, "['pypi.org']"),
    ("allow_hosts=[]", ValueError, "empty"),
    ("allow_cidrs='10.0.0.0/8'", TypeError, "['10.0.0.0/8']"),
    ("allow_cidrs=['10.0.0.0/99']", ValueError, "10.0.0.0/99"),
    ("allow_cidrs=['pypi.org']", ValueError, "pypi.org"),
    ("allow_cidrs=[10]", TypeError, "str"),
    ("deny_cidrs=[]", ValueError, "empty"),
    ("dns='one.one.one.one'", ValueError, "9.9.9.9"),
    ("dns=['9.9.9.9']", TypeError, "str"),
    ("net_backend='virtio'", ValueError, "virtio-net"),
    # Their workload.
    ("command='python3 -m http.server'", TypeError, "['python3', '-m', 'http.server']"),
    ("command=[]", ValueError, "empty"),
    ("init='apk add git'", TypeError, "['apk add git']"),
    ("workdir='work'", ValueError, "absolute"),
    ("user=1000", TypeError, "str"),
    ("labels=['a=b']", TypeError, "mapping"),
    ("labels={'a': 1}", TypeError, "str"),
    ("labels={1: 'a'}", TypeError, "str"),
    ("labels={'a=b': 'c'}", ValueError, "="),
    ("labels={'smolkit.owner': 'me'}", ValueError, "smolkit."),
    ("labels={'smolkit.session': 'x'}", ValueError, "smolkit."),
    ("labels={'smolkit.whatever': 'x'}", ValueError, "smolkit."),
    ("env=['A=b']", TypeError, "mapping"),
    ("env='A=b'", TypeError, "mapping"),
    ("env={'A': 1}", TypeError, "str"),
    ("env={'A': None}", TypeError, "str"),
    ("env={'A': True}", TypeError, "str"),
    ("env={'A': b'x'}", TypeError, "str"),
    ("env={'': 'x'}", ValueError, "empty"),
    ("env={'A=B': 'x'}", ValueError, "="),
    ("secrets=['TOKEN']", TypeError, "mapping"),
    ("secrets='TOKEN'", TypeError, "mapping"),
    ("secrets={'TOKEN': 1}", TypeError, "str"),
    ("env={'A': 'x'}, secrets={'A': 'y'}", ValueError, "'A'"),
    ("stop_timeout='10'", TypeError, "int"),
    ("stop_timeout=0", ValueError, "1"),
    ("stop_signal='SIGNOPE'", ValueError, "SIGTERM"),
    ("stop_signal=15", TypeError, "str"),
    ("keep='always'", ValueError, "on_error"),
    ("keep=1", ValueError, "on_error"),
    ("lifetime='1h'", TypeError, "seconds"),
    ("lifetime=0", ValueError, "positive"),
    ("lifetime=-5", ValueError, "positive"),
]

# Misspelt and foreign names: (keyword, what is suggested, or "").
OF_MACHINES = {
    "mem": "memory",
    "memory_mb": "memory",
    "memroy": "memory",
    "cpu": "cpus",
    "vcpus": "cpus",
    "imgae": "image",
    "img": "image",
    "port": "ports",
    "publish": "ports",
    "volume": "volumes",
    "mounts": "volumes",
    "label": "labels",
    "cwd": "workdir",
    "working_dir": "workdir",
    "environment": "env",
    "envs": "env",
    "secret": "secrets",
    "network": None,  # there is one
    "allow_host": "allow_hosts",
    "allowed_hosts": "allow_hosts",
    "disk": "disks",
    "entrypoint": "",
    "xyzzy": "",
    "qqq": "",
}
OF_EXEC = {
    "cwd": "workdir",
    "timout": "timeout",
    "time_out": "timeout",
    "environment": "env",
    "stdin": "input",
    "chek": "check",
    "secret": "secrets",
    "working_dir": "workdir",
    "username": "user",
    "qqq": "",
}
OF_RUN = {
    "timout": "timeout",
    "cwd": "workdir",
    "img": "image",
    "name": "",
    "qqq": "",
    "memroy": "memory",
    "stdin": "input",
}
OF_POPEN = {
    "cwd": "workdir",
    "timout": "timeout",
    "universal_newlines": "text",
    "encoding": "text",
    "qqq": "",
    "gracee": "grace",
}
OF_FILES = {"permissions": "mode", "mod": "mode", "ower": "owner", "qqq": ""}
METHODS: dict[str, dict[str, str]] = {
    "m.exec(['true'], {})": OF_EXEC,
    "m.sh('true', {})": OF_EXEC,
    "client.run(['true'], {})": OF_RUN,
    "m.popen(['true'], {})": OF_POPEN,
    "m.spawn(['true'], {})": {"cwd": "workdir", "environment": "env", "qqq": ""},
    "m.terminal(['sh'], {})": {"cwd": "workdir", "usr": "user", "qqq": ""},
    "m.write_text('/x', 'x', {})": {**OF_FILES, "encodng": "encoding"},
    "m.write_bytes('/x', b'x', {})": OF_FILES,
    "m.mkdir('/x', {})": {
        "parent": "parents",
        "exists_ok": "exist_ok",
        "exist_okay": "exist_ok",
        "recursive": "",
        "qqq": "",
    },
    "m.remove('/x', {})": {
        "recursiv": "recursive",
        "missing_okay": "missing_ok",
        "ignore_missing": "missing_ok",
        "qqq": "",
    },
    "m.upload('x', '/x', {})": {"progres": "progress", "qqq": ""},
    "m.download('/x', 'x', {})": {"limt": "limit", "progres": "progress", "qqq": ""},
    "m.wait_until({})": {"timout": "timeout", "prt": "port", "cmd": "command", "file": "path", "qqq": ""},
    "m.start({})": {"timout": "timeout", "branchabel": "branchable", "forkable": "branchable", "qqq": ""},
    "m.stop({})": {"timout": "timeout", "qqq": ""},
    "m.delete({})": {"missing_okay": "missing_ok", "force": "", "qqq": ""},
    "m.update({})": {"cpu": "cpus", "mem": "memory", "qqq": ""},
    "m.branch('b', {})": {"label": "labels", "environment": "env", "qqq": ""},
    "m.monitor({})": {"restrat": "restart", "qqq": ""},
    "client.pack_create('alpine', 'x', {})": {"mem": "memory", "cpu": "cpus", "qqq": ""},
    "client.machine('m', {})": {key: near for key, near in OF_MACHINES.items() if near is not None},
    "Smolvm({})": {"max_process": "max_processes", "runnner": "runner", "qqq": ""},
    "SubprocessRunner({})": {"statedir": "state_dir", "prefx": "prefix", "environment": "env", "qqq": ""},
}

CALLS: list[Wrong] = [
    # Commands.
    ("m.exec('ls -l')", TypeError, "['ls', '-l']"),
    ("m.exec(b'ls')", TypeError, "['ls']"),
    ("m.exec([])", ValueError, "empty"),
    ("m.exec([''])", ValueError, "program"),
    ("m.exec(['ls', 1])", TypeError, "str"),
    ("m.exec(['ls', None])", TypeError, "str"),
    ("m.exec(['ls', b'-l'])", TypeError, "str"),
    ("m.exec({'ls': '-l'})", TypeError, "list"),
    ("m.exec({'ls'})", TypeError, "list"),
    ("m.exec(None)", TypeError, "list"),
    ("m.exec(['a\\0b'])", ValueError, "NUL"),
    ("m.exec('ls', '-l')", TypeError, "positional"),
    ("m.exec(['ls'], 10)", TypeError, "positional"),
    ("m.exec(['true'], timeout='10')", TypeError, "seconds"),
    ("m.exec(['true'], timeout=0)", ValueError, "positive"),
    ("m.exec(['true'], timeout=-1)", ValueError, "positive"),
    ("m.exec(['true'], timeout=float('nan'))", ValueError, "positive"),
    ("m.exec(['true'], timeout=float('inf'))", ValueError, "None"),
    ("m.exec(['true'], timeout=True)", TypeError, "seconds"),
    ("m.exec(['true'], check=1)", TypeError, "True or False"),
    ("m.exec(['true'], check='yes')", TypeError, "True or False"),
    ("m.exec(['true'], input=1)", TypeError, "bytes or str"),
    ("m.exec(['true'], input=['x'])", TypeError, "bytes or str"),
    ("m.exec(['true'], input=devnull)", TypeError, "bytes or str"),
    ("m.exec(['true'], env=['A=b'])", TypeError, "mapping"),
    ("m.exec(['true'], env={'A': 1})", TypeError, "str"),
    ("m.exec(['true'], env={'A': 'x'}, secrets={'A': 'y'})", ValueError, "'A'"),
    ("m.exec(['true'], secrets={'A': 1})", TypeError, "str"),
    ("m.exec(['true'], workdir='work')", ValueError, "absolute"),
    ("m.exec(['true'], workdir=1)", TypeError, "PathLike"),
    ("m.exec(['true'], user=1000)", TypeError, "str"),
    ("m.sh(['ls'])", TypeError, "str"),
    ("m.sh('')", ValueError, "empty"),
    ("m.sh(1)", TypeError, "str"),
    ("m.spawn('sleep 5')", TypeError, "['sleep', '5']"),
    ("m.spawn(['sleep', '5'], timeout=3)", TypeError, "timeout"),
    ("m.spawn(['sleep', '5'], check=True)", TypeError, "check"),
    ("m.spawn(['sleep', '5'], input=b'x')", TypeError, "input"),
    ("m.spawn(['sleep', '5'], timeout=3, check=True, input=b'x')", TypeError, "spawn"),
    ("m.spawn(['sleep'], env={'A': 'x'}, secrets={'A': 'y'})", ValueError, "'A'"),
    ("m.terminal('sh')", TypeError, "['sh']"),
    ("m.terminal(['sh'], timeout=3)", TypeError, "timeout"),
    ("m.terminal(['sh'], input=b'')", TypeError, "input"),
    ("m.popen('ls -l')", TypeError, "['ls', '-l']"),
    ("m.popen(['ls'], stdout=-1)", TypeError, "stdout"),
    ("m.spawn(['ls'], stderr=-2)", TypeError, "stderr"),
    ("m.exec(['ls'], stderr=-1)", ValueError, "'stdout'"),
    ("m.popen(['ls'], stdin=-1)", TypeError, "True or False"),
    ("m.popen(['ls'], input=b'')", TypeError, "'stdin'"),
    ("m.popen(['ls'], check=True)", TypeError, "check"),
    ("m.popen(['ls'], shell=True)", TypeError, "sh"),
    ("m.popen(['ls'], text='utf-8')", TypeError, "True or False"),
    ("m.popen(['ls'], grace='5')", TypeError, "seconds"),
    ("m.popen(['ls'], grace=-1)", ValueError, "seconds"),
    ("m.popen(['ls'], timeout=0)", ValueError, "positive"),
    ("client.run('ls -l')", TypeError, "['ls', '-l']"),
    ("client.run(['ls'], timeout='1m')", TypeError, "seconds"),
    ("client.run(['ls'], memory=2**30)", ValueError, "MiB"),
    ("client.run(['ls'], ports=(8080, 80))", ValueError, "[(8080, 80)]"),
    ("client.run(['ls'], labels={'a': 'b'})", TypeError, "labels"),
    # Files.
    ("m.write_text('/x', b'x')", TypeError, "write_bytes"),
    ("m.write_text('/x', 1)", TypeError, "str"),
    ("m.write_text('/x', None)", TypeError, "str"),
    ("m.write_bytes('/x', 'x')", TypeError, "write_text"),
    ("m.write_bytes('/x', 1)", TypeError, "bytes"),
    ("m.write_bytes('/x', [1, 2])", TypeError, "bytes"),
    ("m.write_text('x', 'x')", ValueError, "absolute"),
    ("m.write_text('', 'x')", ValueError, "empty"),
    ("m.write_text(1, 'x')", TypeError, "path"),
    ("m.write_text(None, 'x')", TypeError, "path"),
    ("m.write_text('/a\\0b', 'x')", ValueError, "NUL"),
    ("m.write_text('/x', 'x', mode='600')", TypeError, "0o600"),
    ("m.write_text('/x', 'x', mode='0o600')", TypeError, "0o600"),
    ("m.write_text('/x', 'x', mode=0o10000)", ValueError, "0o7777"),
    ("m.write_text('/x', 'x', mode=os.stat('/').st_mode)", ValueError, "S_IMODE"),
    ("m.write_text('/x', 'x', mode=-1)", ValueError, "0o7777"),
    ("m.write_text('/x', 'x', mode=True)", TypeError, "0o"),
    ("m.write_text('/x', 'x', mode=6.0)", TypeError, "0o"),
    ("m.write_text('/x', 'x', owner=1000)", TypeError, "str"),
    ("m.write_text('/x', 'x', encoding='nope')", ValueError, "nope"),
    ("m.write_text('/x', 'x', encoding='rot13')", ValueError, "rot13"),
    ("m.write_text('/x', 'x', encoding=None)", TypeError, "str"),
    ("m.read_text('x')", ValueError, "absolute"),
    ("m.read_text('/x', encoding='nope')", ValueError, "nope"),
    ("m.read_bytes(b'/x')", TypeError, "path"),
    ("m.listdir('')", ValueError, "empty"),
    ("m.listdir(1)", TypeError, "path"),
    ("m.mkdir('/x', mode='755')", TypeError, "0o755"),
    ("m.mkdir('/x', mode=755)", ValueError, "0o755"),
    ("m.mkdir('/x', parents=1)", TypeError, "True or False"),
    ("m.remove('x')", ValueError, "absolute"),
    ("m.remove('/x', recursive='yes')", TypeError, "True or False"),
    ("m.rename('/x', 'y')", ValueError, "absolute"),
    ("m.stat('x')", ValueError, "absolute"),
    ("m.exists('x')", ValueError, "absolute"),
    ("m.path('x')", ValueError, "absolute"),
    ("m.read_text(client.machine('other').path('/x'))", ValueError, "other"),
    ("m.upload('/nonexistent/file', '/x')", FileNotFoundError, "/nonexistent/file"),
    ("m.upload(b'x', '/x')", TypeError, "PathLike"),
    ("m.upload('README.md', 'x')", ValueError, "absolute"),
    ("m.upload(fifo, '/x')", ValueError, "fifo"),
    ("m.upload('/dev/null', '/x')", ValueError, "/dev/null"),
    ("m.upload('README.md', '/x', progress=True)", TypeError, "function"),
    ("m.download('/x', '')", ValueError, "empty"),
    ("m.download('x', 'y')", ValueError, "absolute"),
    ("m.download('/x', 'y', limit='1G')", TypeError, "int"),
    ("m.download('/x', 'y', limit=-1)", ValueError, "1"),
    ("m.download('/x', 'y', progress='bar')", TypeError, "function"),
    ("m.cp('a', 'b')", ValueError, "machine.path"),
    ("m.cp(m.path('/a'), m.path('/b'))", ValueError, "one"),
    ("m.cp(client.machine('other').path('/a'), 'b')", ValueError, "other"),
    ("m.cp(1, m.path('/b'))", TypeError, "PathLike"),
    # Machines.
    ("m.url('80')", TypeError, "int"),
    ("m.url(0)", ValueError, "65535"),
    ("m.url(80.0)", TypeError, "int"),
    ("m.wait_until()", ValueError, "port"),
    ("m.wait_until(timeout=None, port=80)", TypeError, "seconds"),
    ("m.wait_until(timeout=0, port=80)", ValueError, "positive"),
    ("m.wait_until(port='80')", TypeError, "int"),
    ("m.wait_until(port=0)", ValueError, "65535"),
    ("m.wait_until(path='x')", ValueError, "absolute"),
    ("m.wait_until(command='true')", TypeError, "['true']"),
    ("m.wait_until(log=1)", TypeError, "log"),
    ("m.wait_until(log='(')", ValueError, "log"),
    ("m.start(timeout='10')", TypeError, "seconds"),
    ("m.start(timeout=0)", ValueError, "positive"),
    ("m.start(branchable='yes')", TypeError, "True or False"),
    ("m.stop(timeout=1.5)", TypeError, "int"),
    ("m.stop(timeout='10')", TypeError, "int"),
    ("m.delete(missing_ok='yes')", TypeError, "True or False"),
    ("m.update()", ValueError, "something to change"),
    ("m.update(memory=2**30)", ValueError, "MiB"),
    ("m.update(ports=(8080, 80))", ValueError, "[(8080, 80)]"),
    ("m.branch('bad name')", ValueError, "bad name"),
    ("m.branch('b', labels={'smolkit.owner': 'x'})", ValueError, "smolkit."),
    ("m.mount('src', 'dst')", ValueError, "absolute"),
    ("m.mount(1, '/dst')", TypeError, "PathLike"),
    ("m.logs(tail='5')", TypeError, "int"),
    ("m.logs(tail=-1)", ValueError, "0"),
    ("m.checkpoint('')", ValueError, "empty"),
    ("client.machine('')", ValueError, "name"),
    ("client.machine('a b')", ValueError, "a b"),
    ("client.machine('a/b')", ValueError, "a/b"),
    ("client.machine('-a')", ValueError, "-a"),
    ("client.machine('x' * 129)", ValueError, "128"),
    ("client.machine(1)", TypeError, "str"),
    ("client.machine(b'agent')", TypeError, "str"),
    ("client.machine('m', 'alpine')", TypeError, "positional"),
    ("client.ls(labels=['a'])", TypeError, "mapping"),
    ("client.ls(labels={'a': 1})", TypeError, "str"),
    ("client.reap(dry_run='yes')", TypeError, "True or False"),
    ("client.cli('machine ls')", ValueError, "'machine', 'ls'"),
    ("client.pack_create('alpine', '')", ValueError, "empty"),
    ("client.pack_create('alpine', 1)", TypeError, "PathLike"),
    ("client.pack_create(None, 'x')", ValueError, "image"),
    # Clients and runners.
    ("Smolvm(runner='x')", TypeError, "SubprocessRunner"),
    ("Smolvm(runner=FakeSmolvm)", TypeError, "FakeSmolvm()"),
    ("Smolvm(runner=client)", TypeError, "Runner"),
    ("Smolvm(FakeSmolvm())", TypeError, "runner="),
    ("Smolvm(1)", TypeError, "program"),
    ("Smolvm(b'/usr/bin/smolvm')", TypeError, "program"),
    ("Smolvm('')", ValueError, "empty"),
    ("Smolvm(['sudo', 'smolvm'])", TypeError, "prefix"),
    ("Smolvm('smolvm', runner=FakeSmolvm())", TypeError, "runner"),
    ("Smolvm(on_call=3)", TypeError, "function"),
    ("Smolvm(on_call='print')", TypeError, "function"),
    ("Smolvm(watchdog='yes')", TypeError, "True or False"),
    ("Smolvm(max_processes=0)", ValueError, "1"),
    ("Smolvm(max_processes='4')", TypeError, "int"),
    ("SubprocessRunner(state_dir='~/x')", ValueError, "expanduser"),
    ("SubprocessRunner(state_dir=Path('~/x'))", ValueError, "expanduser"),
    ("SubprocessRunner('~/bin/smolvm')", ValueError, "expanduser"),
    ("SubprocessRunner(state_dir=1)", TypeError, "PathLike"),
    ("SubprocessRunner(prefix='sudo -n')", TypeError, "['sudo', '-n']"),
    ("SubprocessRunner(env=['A=b'])", TypeError, "mapping"),
    ("SubprocessRunner(version=1.32)", TypeError, "str"),
    ("SubprocessRunner(version='newest')", ValueError, "newest"),
    ("SubprocessRunner(max_starts=0)", ValueError, "1"),
    ("SubprocessRunner(pass_env='TOKEN')", TypeError, "['TOKEN']"),
    ("Secret(1)", TypeError, "str"),
    ("Secret(b'x')", TypeError, "str"),
    ("Secret.env('SMOLKIT_NO_SUCH_VARIABLE')", KeyError, "SMOLKIT_NO_SUCH_VARIABLE"),
]
CALLS += [(f"client.machine('m', {keywords})", kind, words) for keywords, kind, words in OPTIONS]
CALLS += [
    (f"m.write_text('/x', 'x', mode={mode})", ValueError, f"0o{mode}")
    for mode in (400, 440, 444, 600, 640, 644, 660, 664, 666, 700, 740, 744, 750, 755, 770, 775, 777)
]
UNKNOWN = [
    (call.replace("{}", f"{keyword}=1"), near, keyword)
    for call, keywords in METHODS.items()
    for keyword, near in keywords.items()
]

# What may look wrong and is right: (keywords of client.machine, what the engine is told).
RIGHT = [
    ("ports={8080: 80}", "--port=8080:80"),
    ("ports={8080: 80, 9000: 9000}", "--port=8080:80 --port=9000:9000"),
    ("ports=[(8080, 80)]", "--port=8080:80"),
    ("ports=((8080, 80), 9000)", "--port=8080:80 --port=9000:9000"),
    ("ports=8080", "--port=8080:8080"),
    ("ports=[[8080, 80]]", "--port=8080:80"),
    ("volumes=[['/src', '/dst']]", "--volume=/src:/dst"),
    ("volumes={'/src': ['/dst', 'ro']}", "--volume=/src:/dst:ro"),
    ("cpus=Index(2)", "--cpus=2"),
    ("ports=range(8000, 8002)", "--port=8000:8000 --port=8001:8001"),
    ("ports=['8080:80/udp']", "--port=8080:80/udp"),
    ("volumes={'/src': '/dst'}", "--volume=/src:/dst"),
    ("volumes={'/src': ('/dst', 'ro')}", "--volume=/src:/dst:ro"),
    ("volumes={'/src': '/dst:ro'}", "--volume=/src:/dst:ro"),
    ("volumes={Path('/src'): '/dst'}", "--volume=/src:/dst"),
    ("volumes=[('/src', '/dst')]", "--volume=/src:/dst"),
    ("volumes=[('/src', '/dst', 'ro')]", "--volume=/src:/dst:ro"),
    ("volumes=[(Path('/src'), m.path('/dst'))]", "--volume=/src:/dst"),
    ("volumes=['/src:/dst:ro']", "--volume=/src:/dst:ro"),
    ("volumes=['s3://bucket/x:/dst']", "--volume=s3://bucket/x:/dst"),
    ("volumes=[(Path('src'), '/dst')]", f"--volume={os.getcwd()}/src:/dst"),
    ("image='rootfs'", "--image=rootfs"),
    ("image='./rootfs/'", "--image=./rootfs/"),
    ("image=Path('./rootfs')", f"--image={os.getcwd()}/rootfs"),
    ("image=Path('app.tar')", f"--image={os.getcwd()}/app.tar"),
    ("memory=512", "--mem=512"),
    ("memory='512M'", "--mem=512"),
    ("memory='512MiB'", "--mem=512"),
    ("memory='2GiB'", "--mem=2048"),
    ("memory='2g'", "--mem=2048"),
    ("storage='20G'", "--storage=20"),
    ("workdir=m.path('/root')", "--workdir=/root"),
    ("workdir=Path('/root')", "--workdir=/root"),
]


class Index:
    """An int of another library's, as numpy has them."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


@pytest.fixture
def names(tmp_path: Path) -> dict[str, Any]:
    """What the calls are about."""
    os.mkfifo(tmp_path / "fifo")
    client = Smolvm(runner=FakeSmolvm())
    return {
        "client": client,
        "m": client.machine("m"),
        "Index": Index,
        "fifo": tmp_path / "fifo",
        "devnull": io.BytesIO(),
        "Path": Path,
        "os": os,
        "smolkit": smolkit,
        "Smolvm": Smolvm,
        "SubprocessRunner": SubprocessRunner,
        "FakeSmolvm": FakeSmolvm,
        "Secret": Secret,
    }


@pytest.mark.parametrize(("call", "kind", "words"), CALLS, ids=[call for call, _, _ in CALLS])
def test_a_wrong_call_is_refused_with_what_was_meant(
    call: str, kind: type[Exception], words: str, names: dict[str, Any]
) -> None:
    """By the error of its kind, in one short message, and nothing was run."""
    with pytest.raises(kind) as raised:
        eval(call, names)  # noqa: S307

    message = str(raised.value)
    assert (True, True) == (words in message, len(message) < 400 and message.count("\n") <= message.count("hint:")), message
    assert [] == names["client"].runner.argvs


@pytest.mark.parametrize(("call", "near", "keyword"), UNKNOWN, ids=[call for call, _, _ in UNKNOWN])
def test_an_unknown_keyword_is_refused_with_the_one_that_was_meant(
    call: str, near: str, keyword: str, names: dict[str, Any]
) -> None:
    """By a TypeError that names both; where none is near, none is suggested."""
    with pytest.raises(TypeError) as raised:
        eval(call, names)  # noqa: S307

    message = str(raised.value)
    assert (True, bool(near)) == (repr(keyword) in message, "did you mean" in message), message
    assert not near or f"did you mean {near!r}" in message, message
    assert [] == names["client"].runner.argvs


@pytest.mark.parametrize(("keywords", "told"), RIGHT, ids=[keywords for keywords, _ in RIGHT])
def test_what_may_look_wrong_and_is_right(keywords: str, told: str, names: dict[str, Any]) -> None:
    """Mappings, pairs, paths and units arrive as they were meant."""
    eval(f"client.machine('made', {keywords})", names).create()  # noqa: S307
    argv = next(argv for argv in names["client"].runner.argvs if "create" in argv)
    words = " ".join(argv).replace(" --", "\0--").replace(" ", "=").split("\0")

    assert set(told.split()) <= set(words), words
