"""`python -m seewhy`."""

from seewhy.cli import app

app()
