"""The suites: unit (fakes and pretend programs), grammar (the real parser), engine (real microVMs)."""
