"""Programs that install, try and remove one package on the machine they run on, as its root. They print one JSON line a check.

They are copied into a testbed and run by its own Python: nothing here imports anything but the standard library.
"""
