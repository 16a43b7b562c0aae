"""Bytes to records: pure functions, one struct.Struct per layout, each citing the header it
mirrors.
"""
