"""Reads bytes from the kernel's sockets and files; nothing is decoded here. OSError becomes one of
our errors here.
"""
