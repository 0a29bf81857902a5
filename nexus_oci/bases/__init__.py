"""Bases: root filesystems made of Debian's signed packages, pinned by a lock, made without emulation or a registry."""
