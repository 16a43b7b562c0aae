"""The web pages: the reports of the command line, to look at and to click through. Read only.

Each page takes its figures from elsa.report and shows the command that prints the same. app.py is
the frame with all that keeps it safe, identity.py says who asks, asked.py reads what is asked for,
tables.py and charts.py turn reports into what the templates draw, page.py is a page that is being
made, and pages.py and job_pages.py have a function for each.
"""
