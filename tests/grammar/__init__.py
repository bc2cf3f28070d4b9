"""Tests of the real engine that need no VM."""
