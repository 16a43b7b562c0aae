"""Decodes bytes into records: pure functions, a struct.Struct for each layout, with the kernel
header that defines it.
"""
