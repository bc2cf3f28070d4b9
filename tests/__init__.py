"""The suites: unit (no engine), grammar (the real parser), contract (the fake and real engines), engine (real microVMs)."""
