"""The viewer: a local web page to look at maps, compare them, and doubt them. Needs `[app]`."""
