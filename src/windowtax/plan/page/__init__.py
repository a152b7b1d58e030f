"""A plan to look at: from a form to figures, plots and one HTML page. The server that shows it is cli/page.py."""
