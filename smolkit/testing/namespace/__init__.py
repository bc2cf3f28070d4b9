"""NamespaceEngine: a program that stands in for the engine, whose machines are Linux namespaces instead of VMs.

`namespace_engine` is what users import. The rest is the program, which runs once for each call of the engine: `program` is
its entry, `subcommands` are the verbs, `machine_spec` is what they are told of machines and commands, `records` are the
machines on disk, `vm` starts and enters the namespaces of one, `guest_command` runs a command in them, and `root_fs` makes
root file systems. The program starts in some 30 ms, since it imports neither attrs nor `subprocess`.
"""
