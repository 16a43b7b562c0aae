"""The collector daemon: reads kernel events, keeps processes and jobs, writes the warehouse and
answers requests.
"""
