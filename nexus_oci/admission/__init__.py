"""Admission: what a cluster or a node has to be told so that it runs nothing but what a release's keys signed.

Every module here turns the same `Rules` into the files of one runtime or controller, and reads nothing else.
"""
