"""What a model's kept answers say about it: where it fails and how, how sure it was, what it learned and forgot. Pure."""
