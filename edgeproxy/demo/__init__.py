"""`edgeproxy demo`: the whole edge on localhost, with a sample origin. Nothing here runs in production."""
