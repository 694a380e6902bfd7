"""Paired judgements by people who do not know which method made which clip.

A study is two files: a page that anybody can open, and a key that says what the page does not.
What the raters answer comes back as one file each, and only the key makes sense of it.
"""
