"""Pages for people: one self-contained HTML file each, made from plain facts; no server, no network, no scripts."""
