"""Numbers in, figures and tables out. No torch."""
