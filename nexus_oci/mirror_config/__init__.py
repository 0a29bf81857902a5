"""Mirrors: the settings by which runtimes get an image from a mirror when they are asked for it by its original name.

Every module here turns one `Redirect` into the files of one runtime, in that runtime's current syntax.
"""
