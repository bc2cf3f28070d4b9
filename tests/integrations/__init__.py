"""Frameworks' own conformance suites, run on smolkit's integrations."""
