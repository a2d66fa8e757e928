"""What the documents promise, checked on a deployed stack; each file is one promise or a few."""
