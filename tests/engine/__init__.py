"""Tests of the real engine with real microVMs."""
