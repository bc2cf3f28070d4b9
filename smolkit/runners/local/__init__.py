"""The engine as a child process of this one."""
