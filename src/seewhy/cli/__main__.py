"""`python -m seewhy.cli`."""

from seewhy.cli import app

app()
