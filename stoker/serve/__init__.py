"""The inference API: a light process in front of engines. It loads no model and never imports torch."""
