"""Builders and scripted runs that tests share."""
