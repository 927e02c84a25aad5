"""Folders of recordings: their samples and which passages are held out; training and evaluation share this."""
