"""The real engine with real microVMs."""
