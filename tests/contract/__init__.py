"""The contract of FakeSmolvm: the same tests run on it and on real engines."""
