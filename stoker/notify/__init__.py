"""Messages to people: whom, when, in which words, and the process that sends them."""
