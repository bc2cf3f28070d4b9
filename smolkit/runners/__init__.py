"""Runners: the only modules that know how a program is run. `base` knows none, and is what other runners stand on."""
