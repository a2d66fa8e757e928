"""The workflow of a request: a module for each kind of request, and `process`, which all go through."""
