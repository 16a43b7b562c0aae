"""Rows to tables, csv and json for people and programs."""
