"""Tests of smolkit.ray, on a cluster on this machine."""
