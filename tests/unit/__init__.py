"""No engine: the fake runner, and programs that pretend to be one."""
