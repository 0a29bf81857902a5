"""Installer packages and programs of macOS, written without macOS: nothing that is kept elsewhere writes and signs them."""
