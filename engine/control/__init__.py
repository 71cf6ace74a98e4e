"""The controllers: observe, decide, act once, record."""
