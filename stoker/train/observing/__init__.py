"""What a worker measures beside training: layers' gradient norms, held-out loss, samples. Nothing here changes a step.

Each is an `Observer` of the conductor. Weights, moments, gradients, train mode and every random state are left as they were,
so a run's losses are the same with all of it on and with all of it off.
"""
