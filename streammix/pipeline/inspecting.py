"""Printing what a checkpoint holds."""
