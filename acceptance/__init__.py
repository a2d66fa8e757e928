"""Proof on AWS itself: checks of a deployed stack from outside, and answers to what no document says."""
