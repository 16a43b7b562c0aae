"""The programs of GNU acct over ELSA's records, with their own options and, byte for byte, their
output.

records   the accounting records, of files or of the warehouse, in file order or backwards
words     names of users, groups and terminals, flags, dates: as C prints them on this host
hashtable the order of the keys in GNU's hash table, which shows where sa's sorting has a tie
sa, lastcomm, dump_acct   the programs: from records to lines
layouts   records as bytes, of version 3 and of the older ones: dump-acct --raw

docs/compat.md says what is equal, what is not, and why.
"""
