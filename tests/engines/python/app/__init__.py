# SPDX-License-Identifier: Apache-2.0
"""A small web server that describes lists of numbers: a Python engine for nexus-oci to package."""

__version__ = "2.3.1"
