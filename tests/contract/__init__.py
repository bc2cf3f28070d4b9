"""What FakeSmolvm claims, tried on it and on real engines by the same tests."""
