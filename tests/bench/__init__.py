"""Benchmarks: tables of ratios, measured side by side in one run. By hand, never as tests."""
