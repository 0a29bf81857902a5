"""The engine as a library of other ecosystems: wheels, npm packages, NuGet packages and jars.

They are written in the toolbox of a build, whose zlib is pinned, so that their bytes are the same on every machine. These modules
import nothing but the standard library and the program's errors.
"""
