"""The displays, one a file; matplotlib comes when one is drawn."""
