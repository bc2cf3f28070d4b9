"""The real engine without a VM."""
