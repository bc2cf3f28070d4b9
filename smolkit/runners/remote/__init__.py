"""The engine on another host: a far process there, reached over one link. `runner` is this end, and `far` the other one."""
