"""Starting, watching and ending the processes that work for the supervisor."""
