"""The collector daemon: kernel events in, processes and jobs kept, rows and answers out."""
