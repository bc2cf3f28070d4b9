"""Tests without an engine: on fakes, and on programs that stand in for one."""
